//! The generic tree of a configuration: nested messages of named fields, before any schema.

use super::TEXT_BYTES_MAX;
use super::token::{Kind, Place, Token, tokens};

/// How deep messages may nest.
const DEPTH_MAX: usize = 32;

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct ConfigError {
    pub at: Place,
    pub message: String,
    /// The configuration is right, but asks for something that Sublet does not have.
    pub unsupported: bool,
}

/// Fields in the order written; a list is its elements as fields of one name.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Message {
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub at: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Message(Message),
    Text(String),
    /// An enum's name, `true`, `false`, `inf`, ….
    Word(String),
    Integer(i128),
    Float(f64),
}

impl ConfigError {
    pub(super) fn new(at: Place, message: impl Into<String>) -> Self {
        ConfigError { at, message: message.into(), unsupported: false }
    }

    pub(super) fn unsupported(at: Place, message: impl Into<String>) -> Self {
        ConfigError { at, message: message.into(), unsupported: true }
    }
}

/// Reads text protobuf.
pub(super) fn parse(text: &str) -> Result<Message, ConfigError> {
    if text.len() > TEXT_BYTES_MAX {
        let at = Place::Text { line: 1, column: 1 };
        return Err(ConfigError::new(
            at,
            format!("{} bytes; at most {TEXT_BYTES_MAX} are accepted", text.len()),
        ));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, next: 0 };
    let message = parser.message(None, 0)?;
    Ok(message)
}

struct Parser<'a> {
    /// Ends with [`Kind::End`], which is never passed.
    tokens: &'a [Token],
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &'a Token {
        &self.tokens[self.next]
    }

    fn bump(&mut self) -> &'a Token {
        let token = self.peek();
        if token.kind != Kind::End {
            self.next += 1;
        }
        token
    }

    fn accept(&mut self, mark: char) -> bool {
        let found = self.peek().kind == Kind::Mark(mark);
        if found {
            self.next += 1;
        }
        found
    }

    /// Fields up to `close`, or up to the end of the text.
    fn message(&mut self, close: Option<char>, depth: usize) -> Result<Message, ConfigError> {
        let mut message = Message::default();
        loop {
            let token = self.bump();
            match (&token.kind, close) {
                (Kind::Mark(mark), Some(close)) if *mark == close => return Ok(message),
                (Kind::End, None) => return Ok(message),
                (Kind::Word(name), _) => self.field(name, token, depth, &mut message)?,
                (Kind::Mark('['), _) => {
                    return Err(ConfigError::unsupported(
                        token.at.clone(),
                        "extension fields are not supported",
                    ));
                }
                (found, close) => {
                    let or = close.map_or(String::new(), |close| format!(" or `{close}`"));
                    return Err(ConfigError::new(
                        token.at.clone(),
                        format!("expected a field name{or}, got {found}"),
                    ));
                }
            }
        }
    }

    fn field(
        &mut self,
        name: &str,
        token: &Token,
        depth: usize,
        into: &mut Message,
    ) -> Result<(), ConfigError> {
        let colon = self.accept(':');
        let mut push = |value, at| into.fields.push(Field { name: name.to_owned(), at, value });
        if self.accept('[') {
            if !self.accept(']') {
                loop {
                    let at = self.peek().at.clone();
                    push(self.value(true, depth)?, at);
                    if self.accept(']') {
                        break;
                    }
                    if !self.accept(',') {
                        let found = self.peek();
                        let message = format!("expected `,` or `]`, got {}", found.kind);
                        return Err(ConfigError::new(found.at.clone(), message));
                    }
                }
            }
        } else {
            push(self.value(colon, depth)?, token.at.clone());
        }
        if !self.accept(',') {
            self.accept(';');
        }
        Ok(())
    }

    fn value(&mut self, scalar: bool, depth: usize) -> Result<Value, ConfigError> {
        let token = self.bump();
        let bad = |message: String| Err(ConfigError::new(token.at.clone(), message));
        match &token.kind {
            Kind::Mark(open @ ('{' | '<')) => {
                if depth == DEPTH_MAX {
                    return bad(format!("messages nest more than {DEPTH_MAX} deep"));
                }
                let close = if *open == '{' { '}' } else { '>' };
                Ok(Value::Message(self.message(Some(close), depth + 1)?))
            }
            found if !scalar => bad(format!("expected `:` or `{{`, got {found}")),
            Kind::Text(first) => {
                let mut text = first.clone();
                while let Kind::Text(more) = &self.peek().kind {
                    text.push_str(more);
                    self.next += 1;
                }
                Ok(Value::Text(text))
            }
            Kind::Word(word) => Ok(Value::Word(word.clone())),
            Kind::Number(number) => match read_number(number) {
                Some(value) => Ok(value),
                None => bad(format!("`{number}` is not a number")),
            },
            Kind::Mark('-') => {
                let operand = self.bump();
                let negated = match &operand.kind {
                    Kind::Number(number) => match read_number(number) {
                        Some(Value::Integer(value)) => Some(Value::Integer(-value)),
                        Some(Value::Float(value)) => Some(Value::Float(-value)),
                        _ => None,
                    },
                    _ => None,
                };
                match negated {
                    Some(value) => Ok(value),
                    None => bad(format!("expected a number after `-`, got {}", operand.kind)),
                }
            }
            found => bad(format!("expected a value, got {found}")),
        }
    }
}

/// Decimal, hexadecimal (`0x`), octal (leading `0`), or a float with an optional `f`.
fn read_number(text: &str) -> Option<Value> {
    let lower = text.to_ascii_lowercase();
    let integer = if let Some(hex) = lower.strip_prefix("0x") {
        return i128::from_str_radix(hex, 16).ok().map(Value::Integer);
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit())
    {
        return i128::from_str_radix(&lower, 8).ok().map(Value::Integer);
    } else {
        lower.parse::<i128>()
    };
    if let Ok(integer) = integer {
        return Some(Value::Integer(integer));
    }
    let float = lower.strip_suffix('f').unwrap_or(&lower);
    let plain = float.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'));
    float.parse().ok().filter(|_| plain).map(Value::Float)
}
