//! A node's attributes, read by name and type. Whatever an operator did not ask for is an error in the end, so that
//! no attribute is ever ignored by accident.

use super::problem::{Problem, invalid, unsupported};
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use std::cell::Cell;
use std::collections::HashMap;

/// What a function's attribute references stand for, by parameter name.
pub type Arguments<'m> = HashMap<&'m str, &'m AttributeProto>;

pub struct Attributes<'m> {
    entries: Vec<Entry<'m>>,
}

struct Entry<'m> {
    name: &'m str,
    value: &'m AttributeProto,
    used: Cell<bool>,
}

/// Sizes (kernel, strides, pads, …) above this are refused: nothing real has them, and arithmetic on what is left
/// cannot overflow.
const SIZE_MAX: i64 = i32::MAX as i64;

impl<'m> Attributes<'m> {
    /// References to a function's parameters are looked up in `arguments`; one that the call left out is absent.
    pub fn new(node: &'m NodeProto, arguments: &Arguments<'m>) -> Result<Self, Problem> {
        let mut entries: Vec<Entry<'m>> = Vec::with_capacity(node.attribute.len());
        for attribute in &node.attribute {
            let value = if attribute.ref_attr_name.is_empty() {
                attribute
            } else {
                match arguments.get(attribute.ref_attr_name.as_str()) {
                    // Its names would have to be looked up where the function was called.
                    Some(value) if value.g.is_some() => {
                        return unsupported("a graph as an attribute of a function");
                    }
                    Some(value) => value,
                    None => continue,
                }
            };
            let name = attribute.name.as_str();
            if entries.iter().any(|entry| entry.name == name) {
                return invalid(format!("attribute `{name}` is given twice"));
            }
            entries.push(Entry { name, value, used: Cell::new(false) });
        }
        Ok(Attributes { entries })
    }

    /// Everything, as arguments of a function call.
    pub fn arguments(&self) -> Arguments<'m> {
        self.entries.iter().map(|entry| (entry.name, entry.value)).collect()
    }

    /// What lists and stored tensors take in memory; raw data is shared.
    pub fn bytes(&self) -> u64 {
        let numbers = |tensor: &TensorProto| {
            let narrow = tensor.float_data.len() + tensor.int32_data.len();
            let wide =
                tensor.int64_data.len() + tensor.uint64_data.len() + tensor.double_data.len();
            4 * narrow + 8 * wide
        };
        let bytes = |value: &AttributeProto| {
            let lists = 8 * value.ints.len() + 4 * value.floats.len() + 32 * value.strings.len();
            lists + value.s.len() + value.t.as_deref().map_or(0, numbers)
        };
        self.entries.iter().map(|entry| bytes(entry.value) as u64).sum()
    }

    /// Fails if an attribute was never asked for.
    pub fn all_used(&self) -> Result<(), Problem> {
        match self.entries.iter().find(|entry| !entry.used.get()) {
            Some(entry) => unsupported(format!("attribute `{}`", entry.name)),
            None => Ok(()),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// Marks attributes as read that have no effect on the result.
    pub fn ignore(&self, names: &[&str]) {
        for entry in self.entries.iter().filter(|entry| names.contains(&entry.name)) {
            entry.used.set(true);
        }
    }

    fn get(&self, name: &str, ty: AttributeType) -> Result<Option<&'m AttributeProto>, Problem> {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
            return Ok(None);
        };
        entry.used.set(true);
        // Early exporters left the type out.
        if entry.value.r#type != ty as i32 && entry.value.r#type != AttributeType::Undefined as i32
        {
            return invalid(format!("attribute `{name}` is not of type {}", ty.as_str_name()));
        }
        Ok(Some(entry.value))
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, Problem> {
        Ok(self.get(name, AttributeType::Int)?.map(|attribute| attribute.i))
    }

    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, Problem> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    pub fn required_int(&self, name: &str) -> Result<i64, Problem> {
        self.int(name)?.ok_or_else(|| missing(name))
    }

    /// An integer that is used as true or false.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    pub fn float(&self, name: &str) -> Result<Option<f32>, Problem> {
        Ok(self.get(name, AttributeType::Float)?.map(|attribute| attribute.f))
    }

    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, Problem> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    pub fn string(&self, name: &str) -> Result<Option<&'m str>, Problem> {
        let attribute = self.get(name, AttributeType::String)?;
        attribute.map(|attribute| text(name, &attribute.s)).transpose()
    }

    pub fn string_or(&self, name: &str, default: &'m str) -> Result<&'m str, Problem> {
        Ok(self.string(name)?.unwrap_or(default))
    }

    pub fn strings(&self, name: &str) -> Result<Vec<&'m str>, Problem> {
        let attribute = self.get(name, AttributeType::Strings)?;
        let strings = attribute.map_or(&[][..], |attribute| &attribute.strings);
        strings.iter().map(|bytes| text(name, bytes)).collect()
    }

    pub fn ints(&self, name: &str) -> Result<Option<&'m [i64]>, Problem> {
        Ok(self.get(name, AttributeType::Ints)?.map(|attribute| &attribute.ints[..]))
    }

    pub fn floats(&self, name: &str) -> Result<Option<&'m [f32]>, Problem> {
        Ok(self.get(name, AttributeType::Floats)?.map(|attribute| &attribute.floats[..]))
    }

    /// Sizes, strides, pads; empty when absent.
    pub fn sizes(&self, name: &str) -> Result<Vec<usize>, Problem> {
        let values = self.ints(name)?.unwrap_or(&[]);
        values.iter().map(|&value| size(name, value)).collect()
    }

    pub fn size_or(&self, name: &str, default: usize) -> Result<usize, Problem> {
        self.int(name)?.map_or(Ok(default), |value| size(name, value))
    }

    pub fn required_size(&self, name: &str) -> Result<usize, Problem> {
        size(name, self.required_int(name)?)
    }

    pub fn tensor(&self, name: &str) -> Result<Option<&'m TensorProto>, Problem> {
        match self.get(name, AttributeType::Tensor)? {
            Some(attribute) => Ok(Some(attribute.t.as_deref().ok_or_else(|| missing_value(name))?)),
            None => Ok(None),
        }
    }

    pub fn required_graph(&self, name: &str) -> Result<&'m GraphProto, Problem> {
        let attribute = self.get(name, AttributeType::Graph)?.ok_or_else(|| missing(name))?;
        attribute.g.as_deref().ok_or_else(|| missing_value(name))
    }
}

fn missing(name: &str) -> Problem {
    Problem::Invalid(format!("attribute `{name}` is missing"))
}

fn missing_value(name: &str) -> Problem {
    Problem::Invalid(format!("attribute `{name}` has no value"))
}

fn text<'m>(name: &str, bytes: &'m [u8]) -> Result<&'m str, Problem> {
    std::str::from_utf8(bytes)
        .map_err(|_| Problem::Invalid(format!("attribute `{name}` is not text")))
}

fn size(name: &str, value: i64) -> Result<usize, Problem> {
    match value {
        0..=SIZE_MAX => Ok(value as usize),
        i64::MIN..0 => unsupported(format!("negative value {value} of attribute `{name}`")),
        _ => invalid(format!("value {value} of attribute `{name}` is out of range")),
    }
}
