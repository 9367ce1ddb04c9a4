//! Tokens of text protobuf (<https://protobuf.dev/reference/protobuf/textformat-spec/>).

use super::tree::ConfigError;
use std::fmt;

/// Where something stands in a configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Counted from 1; columns in characters.
    Text { line: u32, column: u32 },
    /// For example `input[0].dims[2]`.
    Json(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub at: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Word(String),
    Text(String),
    /// A number without its sign.
    Number(String),
    Mark(char),
    End,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text { line, column } => write!(f, "{line}:{column}"),
            Place::Json(path) if path.is_empty() => f.write_str("(top)"),
            Place::Json(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Word(word) | Kind::Number(word) => write!(f, "`{word}`"),
            Kind::Text(text) => write!(f, "{text:?}"),
            Kind::Mark(mark) => write!(f, "`{mark}`"),
            Kind::End => f.write_str("the end of the text"),
        }
    }
}

/// All tokens, the last being [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ConfigError> {
    let mut lexer = Lexer { rest: text.chars().peekable(), line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let at = lexer.place();
        let kind = lexer.next_kind(&at)?;
        let end = kind == Kind::End;
        tokens.push(Token { kind, at });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
    column: u32,
}

impl Lexer<'_> {
    fn place(&self) -> Place {
        Place::Text { line: self.line, column: self.column }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        if next == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(next)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(&next) = self.rest.peek()
            && accept(next)
        {
            taken.push(next);
            self.bump();
        }
        taken
    }

    fn skip_blanks(&mut self) {
        while let Some(&next) = self.rest.peek() {
            if next == '#' {
                while self.rest.peek().is_some_and(|&next| next != '\n') {
                    self.bump();
                }
            } else if next.is_ascii_whitespace() || next == '\u{b}' || next == '\u{feff}' {
                self.bump();
            } else {
                return;
            }
        }
    }

    fn next_kind(&mut self, at: &Place) -> Result<Kind, ConfigError> {
        let Some(&next) = self.rest.peek() else { return Ok(Kind::End) };
        match next {
            'a'..='z' | 'A'..='Z' | '_' => {
                Ok(Kind::Word(self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')))
            }
            '0'..='9' | '.' => Ok(Kind::Number(self.number())),
            '"' | '\'' => self.text(at),
            '{' | '}' | '<' | '>' | '[' | ']' | ':' | ',' | ';' | '-' => {
                self.bump();
                Ok(Kind::Mark(next))
            }
            other => Err(ConfigError::new(at.clone(), format!("unexpected character {other:?}"))),
        }
    }

    /// Digits, letters and points, and a sign after an exponent; whether that is a number is seen when it is read.
    fn number(&mut self) -> String {
        let mut number = String::new();
        while let Some(&next) = self.rest.peek() {
            let hex = number.starts_with("0x") || number.starts_with("0X");
            let signed = matches!(next, '+' | '-') && !hex && number.ends_with(['e', 'E']);
            if !(next.is_ascii_alphanumeric() || next == '.' || signed) {
                break;
            }
            number.push(next);
            self.bump();
        }
        number
    }

    fn text(&mut self, start: &Place) -> Result<Kind, ConfigError> {
        let quote = self.bump();
        let mut bytes = Vec::new();
        loop {
            let at = self.place();
            match self.bump() {
                next if next == quote => break,
                None | Some('\n') => {
                    return Err(ConfigError::new(start.clone(), "a string is not closed"));
                }
                Some('\\') => self.escape(&at, &mut bytes)?,
                Some(other) => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        String::from_utf8(bytes)
            .map(Kind::Text)
            .map_err(|_| ConfigError::new(start.clone(), "a string is not UTF-8"))
    }

    fn escape(&mut self, at: &Place, bytes: &mut Vec<u8>) -> Result<(), ConfigError> {
        let bad = || ConfigError::new(at.clone(), "unknown escape in a string");
        let simple = match self.bump().ok_or_else(bad)? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            quoted @ ('\\' | '\'' | '"' | '?') => quoted as u8,
            first @ '0'..='7' => {
                let rest = self.digits(8, 2);
                let value = u32::from_str_radix(&format!("{first}{rest}"), 8).map_err(|_| bad())?;
                u8::try_from(value).map_err(|_| bad())?
            }
            'x' | 'X' => u8::from_str_radix(&self.digits(16, 2), 16).map_err(|_| bad())?,
            long @ ('u' | 'U') => {
                let wanted = if long == 'u' { 4 } else { 8 };
                let digits = self.digits(16, wanted);
                let value = u32::from_str_radix(&digits, 16).map_err(|_| bad())?;
                let value = char::from_u32(value).filter(|_| digits.len() == wanted);
                bytes.extend(value.ok_or_else(bad)?.encode_utf8(&mut [0; 4]).bytes());
                return Ok(());
            }
            _ => return Err(bad()),
        };
        bytes.push(simple);
        Ok(())
    }

    /// At most `count` digits.
    fn digits(&mut self, radix: u32, count: usize) -> String {
        let mut digits = String::new();
        while digits.len() < count && self.rest.peek().is_some_and(|next| next.is_digit(radix)) {
            digits.extend(self.bump());
        }
        digits
    }
}
