//! The free-form parameters of requests, inputs and outputs: those that mean something to Sublet.

use crate::Failure;
use crate::error_table::Shown;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::fmt;
use std::time::Duration;

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parameter {
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    Null,
}

/// Parameters in the order given. There are few, so finding one is a scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parameters(pub Vec<(String, Parameter)>);

/// What the parameters of a request ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RequestOptions {
    pub priority: u32,
    pub timeout: Option<Duration>,
    pub slo: Option<Duration>,
    /// Whether outputs that do not say otherwise are binary.
    pub binary_outputs: bool,
    /// Whether streamed answers carry the mark of the last one.
    pub final_mark: bool,
}

/// Where a tensor lies in a registered region.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SharedPlace {
    pub region: String,
    pub offset: u64,
    pub bytes: u64,
}

/// More parameters than this in one place are refused.
const PARAMETERS_MAX: usize = 128;

impl Parameters {
    pub fn get(&self, key: &str) -> Option<&Parameter> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value).filter(|value| **value != Parameter::Null)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Parameter::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(wrong(key, "true or false")),
        }
    }

    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(&Parameter::Unsigned(value)) => Ok(Some(value)),
            Some(&Parameter::Int(value)) if value >= 0 => Ok(Some(value.unsigned_abs())),
            Some(_) => Err(wrong(key, "a whole number of at least 0")),
        }
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, Failure> {
        match self.get(key) {
            None => Ok(None),
            Some(Parameter::Text(value)) => Ok(Some(value)),
            Some(_) => Err(wrong(key, "a string")),
        }
    }

    /// A duration in milliseconds. Text is taken too: some clients send only text and whole numbers.
    fn milliseconds(&self, key: &str) -> Result<Option<Duration>, Failure> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(&Parameter::Int(value)) => Some(value as f64),
            Some(&Parameter::Unsigned(value)) => Some(value as f64),
            Some(&Parameter::Float(value)) => Some(value),
            Some(Parameter::Text(value)) => value.parse().ok(),
            Some(Parameter::Bool(_) | Parameter::Null) => None,
        };
        let duration = number
            .filter(|&number| number > 0.0)
            .and_then(|number| Duration::try_from_secs_f64(number / 1e3).ok());
        duration.map(Some).ok_or_else(|| wrong(key, "a number of milliseconds above 0"))
    }

    pub fn request_options(&self) -> Result<RequestOptions, Failure> {
        if self.0.is_empty() {
            return Ok(RequestOptions::default());
        }
        self.refuse_sequences()?;
        let priority = self.unsigned("priority")?.unwrap_or(0);
        let timeout = self.unsigned("timeout")?.filter(|&us| us > 0).map(Duration::from_micros);
        let deadline = self.milliseconds("deadline_ms")?;
        let slo = self.milliseconds("slo_ms")?;
        Ok(RequestOptions {
            priority: u32::try_from(priority).map_err(|_| wrong("priority", "below 2^32"))?,
            timeout: earlier(timeout, deadline),
            slo: earlier(slo, deadline),
            binary_outputs: self.bool("binary_data_output")?.unwrap_or(false),
            final_mark: self.bool("triton_enable_empty_final_response")?.unwrap_or(false),
        })
    }

    /// `sequence_id` 0 or empty means no sequence.
    fn refuse_sequences(&self) -> Result<(), Failure> {
        let none = match self.get("sequence_id") {
            None => true,
            Some(Parameter::Int(0) | Parameter::Unsigned(0)) => true,
            Some(Parameter::Text(id)) => id.is_empty(),
            Some(_) => false,
        };
        let marks =
            self.bool("sequence_start")? == Some(true) || self.bool("sequence_end")? == Some(true);
        if none && !marks {
            return Ok(());
        }
        Err(Failure::unsupported(
            "sequences are not supported: send the model's state as inputs and outputs",
        ))
    }

    /// The region that an input is read from, or an output written to.
    pub fn shared_place(&self, tensor: &str) -> Result<Option<SharedPlace>, Failure> {
        let Some(region) = self.text("shared_memory_region")? else {
            if self.get("shared_memory_byte_size").or(self.get("shared_memory_offset")).is_some() {
                return Err(Failure::invalid(format!(
                    "{} has a place in shared memory but no shared_memory_region",
                    Shown(tensor)
                )));
            }
            return Ok(None);
        };
        let bytes = self.unsigned("shared_memory_byte_size")?.ok_or_else(|| {
            Failure::invalid(format!("{} needs shared_memory_byte_size", Shown(tensor)))
        })?;
        let offset = self.unsigned("shared_memory_offset")?.unwrap_or(0);
        Ok(Some(SharedPlace { region: region.to_owned(), offset, bytes }))
    }
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

fn wrong(key: &str, expected: &str) -> Failure {
    Failure::invalid(format!("the parameter `{key}` must be {expected}"))
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = Parameter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number or a boolean")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Parameter, E> {
                Ok(Parameter::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Parameter, E> {
                Ok(Parameter::Int(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Parameter, E> {
                Ok(Parameter::Unsigned(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Parameter, E> {
                Ok(Parameter::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Parameter, E> {
                Ok(Parameter::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Parameter, E> {
                Ok(Parameter::Null)
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Parameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut parameters = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if parameters.len() == PARAMETERS_MAX {
                        return Err(A::Error::custom("too many parameters"));
                    }
                    parameters.push(entry);
                }
                Ok(Parameters(parameters))
            }

            fn visit_unit<E>(self) -> Result<Parameters, E> {
                Ok(Parameters::default())
            }
        }
        deserializer.deserialize_any(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Result<RequestOptions, Failure> {
        let parameters: Parameters = serde_json::from_str(json).expect("scalars");
        parameters.request_options()
    }

    #[test]
    fn reads_request_parameters() {
        let read = options(
            r#"{"priority": 2, "timeout": 1500, "slo_ms": 2.5, "deadline_ms": "100",
                "binary_data_output": true, "mine": "ignored"}"#,
        );
        assert_eq!(
            read,
            Ok(RequestOptions {
                priority: 2,
                timeout: Some(Duration::from_micros(1500)),
                slo: Some(Duration::from_micros(2500)),
                binary_outputs: true,
                final_mark: false,
            })
        );
        let both = options(r#"{"timeout": 900000000, "deadline_ms": 7}"#).expect("valid");
        assert_eq!(
            (both.timeout, both.slo),
            (Some(Duration::from_millis(7)), Some(Duration::from_millis(7)))
        );
        assert_eq!(
            options(r#"{"timeout": 0, "sequence_id": 0, "priority": null}"#),
            Ok(Default::default())
        );
    }

    #[test]
    fn refuses_wrong_parameters() {
        for json in [
            r#"{"priority": -1}"#,
            r#"{"priority": 4294967296}"#,
            r#"{"priority": "high"}"#,
            r#"{"timeout": -5}"#,
            r#"{"timeout": 1.5}"#,
            r#"{"slo_ms": 0}"#,
            r#"{"slo_ms": -1}"#,
            r#"{"slo_ms": "soon"}"#,
            r#"{"slo_ms": "NaN"}"#,
            r#"{"slo_ms": 1e300}"#,
            r#"{"binary_data_output": 1}"#,
            r#"{"sequence_id": 5}"#,
            r#"{"sequence_id": "a", "sequence_start": true}"#,
            r#"{"sequence_end": true}"#,
        ] {
            assert!(options(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Parameters>(r#"{"a": [1]}"#).is_err());
        let many: Vec<String> = (0..200).map(|i| format!("\"k{i}\": 1")).collect();
        assert!(serde_json::from_str::<Parameters>(&format!("{{{}}}", many.join(","))).is_err());
    }
}
