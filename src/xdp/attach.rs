//! Attaching the steering program, and what the kernel's refusals mean.

use std::io;
use std::os::fd::AsFd;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};

use super::{Interface, XdpError, netlink};

/// Where the driver is to run the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer of the frame.
    Native,
    /// In the kernel's generic receive path.
    Generic,
    /// Native where the driver can, generic where it cannot.
    #[default]
    Auto,
}

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

impl AttachedMode {
    /// `native` or `generic`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    const fn flag(self) -> (XdpMode, u32) {
        match self {
            Self::Native => (XdpMode::Driver, 4),
            Self::Generic => (XdpMode::Skb, 2),
        }
    }
}

/// Attaches by BPF link, in the mode asked for or the best there is.
pub(super) fn attach_in_mode(
    program: &mut Xdp,
    interface: &Interface,
    mode: AttachMode,
) -> Result<(FdLink, AttachedMode, Option<String>), XdpError> {
    let first = match mode {
        AttachMode::Native | AttachMode::Auto => AttachedMode::Native,
        AttachMode::Generic => AttachedMode::Generic,
    };
    match attach_link(program, interface, first) {
        Ok(link) => Ok((link, first, None)),
        Err(XdpError::AttachRefused { reason, .. }) if mode == AttachMode::Auto => {
            let link = attach_link(program, interface, AttachedMode::Generic)?;
            Ok((link, AttachedMode::Generic, Some(reason)))
        }
        Err(error) => Err(error),
    }
}

fn attach_link(
    program: &mut Xdp,
    interface: &Interface,
    mode: AttachedMode,
) -> Result<FdLink, XdpError> {
    let refused = |reason: String| XdpError::AttachRefused {
        interface: interface.name.clone(),
        driver: interface.driver.clone(),
        mode: mode.name(),
        reason,
    };
    let (aya_mode, flags) = mode.flag();
    // Asked beforehand, since the error number for it is not always the same.
    if let Some(id) = interface.attached_program()? {
        return Err(XdpError::AlreadyAttached {
            interface: interface.name.clone(),
            program: Some(id),
        });
    }
    let id = match program.attach_to_if_index(interface.index, aya_mode) {
        Ok(id) => id,
        Err(error) => {
            let source = match &error {
                ProgramError::SyscallError(call) => call.io_error.raw_os_error(),
                ProgramError::XdpError(aya::programs::XdpError::NetlinkError(e)) => {
                    e.raw_os_error()
                }
                _ => None,
            };
            return Err(match source {
                Some(libc::EBUSY | libc::EEXIST) => XdpError::AlreadyAttached {
                    interface: interface.name.clone(),
                    program: None,
                },
                Some(libc::EPERM | libc::EACCES) => XdpError::NotPermitted {
                    action: format!("attach an XDP program to {}", interface.name),
                },
                Some(libc::ENODEV) => XdpError::NoSuchInterface(interface.name.clone()),
                number => {
                    let said = program
                        .fd()
                        .ok()
                        .and_then(|fd| netlink::refusal(interface.index, fd.as_fd(), flags));
                    let number = number.map(|n| io::Error::from_raw_os_error(n).to_string());
                    refused(said.or(number).unwrap_or_else(|| error.to_string()))
                }
            });
        }
    };
    let link = program.take_link(id).map_err(program_error)?;
    // A program attached in the old way would outlive a killed process.
    link.try_into()
        .map_err(|_| refused("this kernel has no BPF links for XDP (5.9 has)".into()))
}

pub(super) fn load_error(error: EbpfError) -> XdpError {
    match error {
        EbpfError::MapError(error) => map_error(error),
        EbpfError::ProgramError(error) => program_error(error),
        other => XdpError::Program(chain(&other)),
    }
}

pub(super) fn map_error(error: MapError) -> XdpError {
    let source = match &error {
        MapError::CreateError { io_error, .. } => io_error.raw_os_error(),
        MapError::SyscallError(call) => call.io_error.raw_os_error(),
        _ => None,
    };
    match source {
        Some(libc::EPERM | libc::EACCES) => XdpError::NotPermitted {
            action: "use the steering program's maps".into(),
        },
        _ => XdpError::Program(chain(&error)),
    }
}

pub(super) fn program_error(error: ProgramError) -> XdpError {
    match &error {
        ProgramError::LoadError { io_error, .. }
            if matches!(io_error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) =>
        {
            XdpError::NotPermitted {
                action: "load the steering program".into(),
            }
        }
        ProgramError::LoadError { io_error, .. }
            if io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            XdpError::Program(format!(
                "{} (Linux 5.18 or later is needed for XDP with fragments)",
                chain(&error)
            ))
        }
        _ => XdpError::Program(chain(&error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
