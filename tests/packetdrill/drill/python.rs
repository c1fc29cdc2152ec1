//! The little of Python that `%{ }%` blocks are made of.
//!
//! Statements: `assert EXPRESSION[, MESSAGE]`, `print`, `NAME = EXPRESSION`,
//! `pass`, `import`. Expressions: `or`, `and`, `not`, comparisons (chained, and
//! `in`), arithmetic, bits, `abs`, `min`, `max`, `int`, lists, strings. A
//! statement of anything else is not run, and counted.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Numbers; `True` is 1.
    Number(f64),
    /// Strings.
    Text(String),
    /// Lists and tuples.
    List(Vec<Value>),
    /// `None`.
    Nothing,
}

impl Value {
    fn truth(&self) -> bool {
        match self {
            Value::Number(n) => *n != 0.0,
            Value::Text(s) => !s.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Nothing => false,
        }
    }

    fn number(&self) -> Result<f64, Stop> {
        match self {
            Value::Number(n) => Ok(*n),
            other => Err(Stop::Unknown(format!("{other} is not a number"))),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Number(n) => write!(f, "{n}"),
            Value::Text(s) => f.write_str(s),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Nothing => f.write_str("None"),
        }
    }
}

/// What came of a block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ran {
    /// Assertions that held.
    pub held: usize,
    /// Statements that could not be run, and why.
    pub skipped: Vec<String>,
    /// What was printed.
    pub printed: Vec<String>,
}

/// Why a statement was given up.
#[derive(Clone, Debug, PartialEq)]
enum Stop {
    /// Something that is not known: skipped and counted.
    Unknown(String),
    /// An assertion that does not hold.
    Failed(String),
}

/// Runs the statements of a block over `names`.
///
/// # Errors
/// The first assertion that does not hold, with the values of what it names.
pub fn run(code: &str, names: &BTreeMap<&'static str, i64>) -> Result<Ran, String> {
    let mut ran = Ran::default();
    let mut own = BTreeMap::new();
    for statement in statements(code) {
        match execute(&statement, names, &mut own, &mut ran) {
            Ok(()) => {}
            Err(Stop::Unknown(why)) => {
                ran.skipped.push(why);
                if statement.trim_end().ends_with(':') {
                    // What it guards must not run unguarded.
                    break;
                }
            }
            Err(Stop::Failed(why)) => return Err(why),
        }
    }
    Ok(ran)
}

/// Lines, without comments, joined while a bracket is open, split at `;`.
fn statements(code: &str) -> Vec<String> {
    let (mut all, mut current) = (Vec::new(), String::new());
    let (mut depth, mut quote, mut comment) = (0usize, None, false);
    for c in code.chars() {
        match (c, quote) {
            ('\n', _) => {
                comment = false;
                quote = None;
                if depth == 0 {
                    all.push(std::mem::take(&mut current));
                } else {
                    current.push(' ');
                }
                continue;
            }
            _ if comment => continue,
            (_, Some(q)) => quote = Some(q).filter(|q| *q != c),
            ('\'' | '"', None) => quote = Some(c),
            ('#', None) => {
                comment = true;
                continue;
            }
            ('(' | '[', None) => depth += 1,
            (')' | ']', None) => depth = depth.saturating_sub(1),
            (';', None) if depth == 0 => {
                all.push(std::mem::take(&mut current));
                continue;
            }
            _ => {}
        }
        current.push(c);
    }
    all.push(current);
    all.retain(|s| !s.trim().is_empty());
    all
}

type Names = BTreeMap<String, Value>;

fn execute(
    statement: &str,
    names: &BTreeMap<&'static str, i64>,
    own: &mut Names,
    ran: &mut Ran,
) -> Result<(), Stop> {
    let text = statement.trim();
    let tokens = tokens(text)?;
    let mut p = Parser {
        tokens: &tokens,
        at: 0,
        names,
        own,
        used: Vec::new(),
        depth: 0,
    };
    match tokens.first() {
        Some(Token::Name(word)) if word == "assert" => {
            p.at = 1;
            let value = p.expression()?;
            let message = if p.take(",") {
                Some(p.expression()?)
            } else {
                None
            };
            p.end()?;
            if value.truth() {
                ran.held += 1;
                return Ok(());
            }
            let mut why = format!("`{text}` does not hold");
            if let Some(message) = message {
                why.push_str(&format!(": {message}"));
            }
            let values: Vec<_> = p.used.iter().map(|(n, v)| format!("{n} = {v}")).collect();
            if !values.is_empty() {
                why.push_str(&format!(" ({})", values.join(", ")));
            }
            Err(Stop::Failed(why))
        }
        Some(Token::Name(word)) if word == "print" => {
            p.at = 1;
            let mut words = Vec::new();
            while p.at < tokens.len() {
                words.push(p.expression()?.to_string());
                if !p.take(",") {
                    break;
                }
            }
            p.end()?;
            ran.printed.push(words.join(" "));
            Ok(())
        }
        Some(Token::Name(word)) if word == "pass" => Ok(()),
        Some(Token::Name(word)) if word == "import" || word == "from" => Ok(()),
        Some(Token::Name(name)) if tokens.get(1) == Some(&Token::Sign("=")) => {
            p.at = 2;
            let value = p.expression()?;
            p.end()?;
            own.insert(name.clone(), value);
            Ok(())
        }
        _ => Err(Stop::Unknown(format!("statement `{text}`"))),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Name(String),
    Sign(&'static str),
}

const SIGNS: [&str; 29] = [
    "**", "//", "==", "!=", "<=", ">=", "<<", ">>", "<", ">", "=", "+", "-", "*", "/", "%", "&",
    "|", "^", "~", "(", ")", "[", "]", ",", ".", ":", "{", "}",
];

fn tokens(text: &str) -> Result<Vec<Token>, Stop> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let len;
        if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit())) {
            len = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
                .unwrap_or(rest.len());
            let word = &rest[..len];
            let number = match word.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).ok().map(|n| n as f64),
                None => word.trim_end_matches('L').parse().ok(),
            };
            out.push(Token::Number(
                number.ok_or_else(|| Stop::Unknown(format!("number `{word}`")))?,
            ));
        } else if c.is_alphabetic() || c == '_' {
            len = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            out.push(Token::Name(rest[..len].to_owned()));
        } else if c == '\'' || c == '"' {
            let end = rest[1..]
                .find(c)
                .ok_or_else(|| Stop::Unknown("a string without end".to_owned()))?;
            out.push(Token::Text(rest[1..=end].to_owned()));
            len = end + 2;
        } else if let Some(sign) = SIGNS.iter().find(|s| rest.starts_with(**s)) {
            out.push(Token::Sign(sign));
            len = sign.len();
        } else {
            return Err(Stop::Unknown(format!("`{c}`")));
        }
        rest = rest[len..].trim_start();
    }
    Ok(out)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    names: &'a BTreeMap<&'static str, i64>,
    own: &'a Names,
    used: Vec<(String, Value)>,
    /// Signs and brackets that the present place is inside of.
    depth: usize,
}

/// Signs and brackets inside each other, at most: each takes some of the stack.
const DEEPEST: usize = 100;

/// Operators of two sides, weakest first, below the comparisons.
const LEVELS: [&[&str]; 6] = [
    &["|"],
    &["^"],
    &["&"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "//", "%"],
];

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(taken);
        taken
    }

    fn take_word(&mut self, word: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token::Name(n)) if n == word);
        self.at += usize::from(taken);
        taken
    }

    fn end(&self) -> Result<(), Stop> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(Stop::Unknown(format!("{token:?} in a statement"))),
        }
    }

    fn expression(&mut self) -> Result<Value, Stop> {
        let mut left = self.conjunction()?;
        while self.take_word("or") {
            let right = self.conjunction()?;
            left = if left.truth() { left } else { right };
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Value, Stop> {
        let mut left = self.negation()?;
        while self.take_word("and") {
            let right = self.negation()?;
            left = if left.truth() { right } else { left };
        }
        Ok(left)
    }

    /// One step further in.
    fn deeper(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<Value, Stop>,
    ) -> Result<Value, Stop> {
        if self.depth == DEEPEST {
            return Err(Stop::Unknown("too much inside of each other".to_owned()));
        }
        self.depth += 1;
        let value = what(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn negation(&mut self) -> Result<Value, Stop> {
        self.deeper(Self::negated)
    }

    fn negated(&mut self) -> Result<Value, Stop> {
        if self.take_word("not") {
            let value = self.negation()?;
            return Ok(truth(!value.truth()));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Value, Stop> {
        let mut left = self.level(0)?;
        let mut result = None;
        loop {
            let sign = match self.peek() {
                Some(Token::Sign(s @ ("==" | "!=" | "<" | ">" | "<=" | ">="))) => *s,
                Some(Token::Name(n)) if n == "in" => "in",
                Some(Token::Name(n)) if n == "is" => "==",
                Some(Token::Name(n)) if n == "not" => {
                    self.at += 1;
                    "not in"
                }
                _ => return Ok(result.map_or(left, truth)),
            };
            self.at += 1;
            let right = self.level(0)?;
            let holds = compare(sign, &left, &right)?;
            result = Some(result.unwrap_or(true) && holds);
            left = right;
        }
    }

    fn level(&mut self, n: usize) -> Result<Value, Stop> {
        let Some(signs) = LEVELS.get(n) else {
            return self.unary();
        };
        let mut left = self.level(n + 1)?;
        while let Some(Token::Sign(sign)) = self.peek() {
            if !signs.contains(sign) {
                break;
            }
            let sign = *sign;
            self.at += 1;
            let right = self.level(n + 1)?;
            if sign == "%" && matches!(left, Value::Text(_)) {
                // Formatting is for messages only.
                left = Value::Text(format!("{left} % {right}"));
                continue;
            }
            left = Value::Number(arithmetic(sign, left.number()?, right.number()?)?);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Value, Stop> {
        self.deeper(Self::signed)
    }

    fn signed(&mut self) -> Result<Value, Stop> {
        if self.take("-") {
            return Ok(Value::Number(-self.unary()?.number()?));
        }
        if self.take("+") {
            return self.unary();
        }
        if self.take("~") {
            return Ok(Value::Number(!(self.unary()?.number()? as i64) as f64));
        }
        let base = self.atom()?;
        if self.take("**") {
            let power = self.unary()?.number()?;
            return Ok(Value::Number(base.number()?.powf(power)));
        }
        Ok(base)
    }

    fn atom(&mut self) -> Result<Value, Stop> {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Number(n)) => Ok(Value::Number(n)),
            Some(Token::Text(s)) => Ok(Value::Text(s)),
            Some(Token::Sign("(")) => {
                let items = self.items(")")?;
                match <[Value; 1]>::try_from(items) {
                    Ok([one]) => Ok(one),
                    Err(items) => Ok(Value::List(items)),
                }
            }
            Some(Token::Sign("[")) => Ok(Value::List(self.items("]")?)),
            Some(Token::Name(name)) if self.take("(") => {
                let args = self.items(")")?;
                call(&name, &args)
            }
            Some(Token::Name(name)) => self.name(&name),
            other => Err(Stop::Unknown(format!("{other:?}"))),
        }
    }

    fn items(&mut self, close: &str) -> Result<Vec<Value>, Stop> {
        let mut items = Vec::new();
        while !self.take(close) {
            items.push(self.expression()?);
            if !self.take(",") {
                if self.take(close) {
                    break;
                }
                return Err(Stop::Unknown("an open bracket".to_owned()));
            }
        }
        Ok(items)
    }

    fn name(&mut self, name: &str) -> Result<Value, Stop> {
        match name {
            "True" => return Ok(truth(true)),
            "False" => return Ok(truth(false)),
            "None" => return Ok(Value::Nothing),
            _ => {}
        }
        // Scripts drop the `snd_` that the C structure has.
        let alias = match name {
            "tcpi_cwnd" => "tcpi_snd_cwnd",
            "tcpi_ssthresh" => "tcpi_snd_ssthresh",
            other => other,
        };
        let known = self.own.get(name).cloned().or_else(|| {
            let value = self.names.get(alias).copied();
            let value = value.or_else(|| super::constants::value(alias));
            value.map(|n| Value::Number(n as f64))
        });
        let Some(value) = known else {
            return Err(Stop::Unknown(format!("name {name}")));
        };
        if !self.used.iter().any(|(n, _)| n == name) {
            self.used.push((name.to_owned(), value.clone()));
        }
        Ok(value)
    }
}

fn truth(yes: bool) -> Value {
    Value::Number(f64::from(u8::from(yes)))
}

fn compare(sign: &str, left: &Value, right: &Value) -> Result<bool, Stop> {
    Ok(match sign {
        "==" => left == right,
        "!=" => left != right,
        "in" | "not in" => {
            let Value::List(items) = right else {
                return Err(Stop::Unknown(format!("in {right}")));
            };
            items.contains(left) == (sign == "in")
        }
        "<" => left.number()? < right.number()?,
        ">" => left.number()? > right.number()?,
        "<=" => left.number()? <= right.number()?,
        _ => left.number()? >= right.number()?,
    })
}

fn arithmetic(sign: &str, a: f64, b: f64) -> Result<f64, Stop> {
    let bits = |f: fn(i64, i64) -> i64| f(a as i64, b as i64) as f64;
    if b == 0.0 && matches!(sign, "/" | "//" | "%") {
        return Err(Stop::Failed("division by zero".to_owned()));
    }
    Ok(match sign {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        "//" => (a / b).floor(),
        "%" => a - b * (a / b).floor(),
        "|" => bits(|a, b| a | b),
        "^" => bits(|a, b| a ^ b),
        "&" => bits(|a, b| a & b),
        "<<" => bits(|a, b| a.checked_shl(b as u32).unwrap_or(0)),
        _ => bits(|a, b| a.checked_shr(b as u32).unwrap_or(0)),
    })
}

fn call(name: &str, args: &[Value]) -> Result<Value, Stop> {
    let unknown = || Stop::Unknown(format!("function {name}"));
    let numbers: Vec<f64> = args.iter().map(Value::number).collect::<Result<_, _>>()?;
    let value = match (name, numbers.as_slice()) {
        ("abs", [n]) => n.abs(),
        ("int", [n]) => n.trunc(),
        ("float", [n]) => *n,
        ("round", [n]) => n.round(),
        ("min", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::min),
        ("max", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::max),
        _ => return Err(unknown()),
    };
    Ok(Value::Number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeMap<&'static str, i64> {
        BTreeMap::from([("tcpi_snd_cwnd", 10), ("tcpi_rto", 200_000)])
    }

    #[track_caller]
    fn holds(code: &str) {
        let ran = run(code, &names()).unwrap();
        assert!(ran.held > 0 && ran.skipped.is_empty(), "{ran:?}");
    }

    #[test]
    fn what_holds() {
        holds("assert tcpi_cwnd == 10");
        holds(
            "\nassert tcpi_snd_cwnd == 10, tcpi_snd_cwnd\nassert tcpi_rto != 1, 'rto %d' % tcpi_rto\n",
        );
        holds("assert 5 < tcpi_cwnd <= 10 and not tcpi_rto > 200000; # comment");
        holds("assert (tcpi_cwnd + 2) * 3 - 1 == 35 or False");
        holds("x = tcpi_cwnd // 3\nassert x == 3 and x in (1, 3) and x not in [4]");
        holds("assert abs(-3) == 3 and min(4, 2) == 2 and max(1,\n 7) == 7");
        holds("assert 7 & 3 | 8 == 11 and 1 << 4 == 16 and 7 % 4 == 3 and -7 // 2 == -4");
        holds("assert TCP_CA_Recovery == 3 and 0x10 == 16 and 2 ** 3 == 8");
    }

    #[test]
    fn what_does_not_hold_names_the_values() {
        let why = run("assert tcpi_cwnd == 11, 'so'", &names()).unwrap_err();
        assert!(
            why.contains("so") && why.contains("tcpi_cwnd = 10"),
            "{why}"
        );
        assert!(run("assert 1 > 2 or 0", &names()).is_err());
        assert!(run("assert 1 < 2 < 2", &names()).is_err());
        assert!(run("pass; assert not 1", &names()).is_err());
    }

    /// Found by fuzzing: each took some of the stack.
    #[test]
    fn what_is_nested_without_end_is_given_up() {
        for sign in ["(", "[", "-", "+", "~", "not ", "2 ** ", "abs("] {
            let ran = run(&format!("assert {}1", sign.repeat(100_000)), &names()).unwrap();
            assert_eq!((ran.held, ran.skipped.len()), (0, 1), "{sign}");
        }
        holds(&format!("assert {}1{}", "(".repeat(40), ")".repeat(40)));
    }

    #[test]
    fn what_is_unknown_is_counted() {
        let code = "assert tcpi_nothing == 1\nprint(1, 'a')\nif x:\n assert 0";
        let ran = run(code, &names()).unwrap();
        assert_eq!(ran.held, 0);
        assert_eq!(ran.skipped.len(), 2, "{ran:?}");
        assert_eq!(ran.printed, ["[1, a]"]);
        assert!(ran.skipped[0].contains("tcpi_nothing"));
    }
}
