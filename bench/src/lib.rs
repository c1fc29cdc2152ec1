//! Comparisons of fullbore with other stacks.
