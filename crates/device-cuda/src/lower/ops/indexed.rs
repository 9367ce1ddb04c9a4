//! Kernels with one thread for each element of a result, whose place is known as an index of every axis.

use super::ctype::{computed, stored};
use super::target::{Launch, Target};
use crate::driver::LaunchShape;
use crate::lower::{LowerError, Value};
use crate::program::Argument;
use std::fmt::Write;
use sublet_graph::DType;

/// A kernel under construction.
pub struct Indexed<'a> {
    name: &'a str,
    output: Value,
    parameters: Vec<(String, Argument)>,
    declarations: String,
    fault: Option<&'a str>,
}

impl<'a> Indexed<'a> {
    pub fn new(name: &'a str, output: &Value) -> Self {
        Indexed {
            name,
            output: output.clone(),
            parameters: Vec::new(),
            declarations: String::new(),
            fault: None,
        }
    }

    /// The result's bits are moved as those of an integer of the same size.
    pub fn bits(mut self) -> Self {
        self.output.dtype = super::ctype::bits(self.output.dtype);
        self
    }

    /// Makes a value's elements known under a name, as a pointer to stored elements.
    pub fn input(self, name: &str, value: &Value) -> Self {
        let dtype = value.dtype;
        self.input_as(name, value, dtype)
    }

    /// As [`Indexed::input`], with the elements taken for another type of the same size.
    pub fn input_as(mut self, name: &str, value: &Value, dtype: DType) -> Self {
        let declaration = format!("const {}* {name}", stored(dtype));
        self.parameters.push((declaration, Argument::Address(value.address)));
        self
    }

    /// Adds functions and tables before the kernel.
    pub fn declare(mut self, text: &str) -> Self {
        self.declarations.push_str(text);
        self.declarations.push('\n');
        self
    }

    /// The statements may call `report(fault, code)` when this is wrong.
    pub fn fault(mut self, what: &'a str) -> Self {
        self.fault = Some(what);
        self
    }

    /// Emits the kernel. The statements assign `y` from `i`, the element's number in row-major order, and `c0`, `c1`, …,
    /// its index of every axis.
    pub fn emit(self, target: &mut dyn Target, body: &str) -> Result<(), LowerError> {
        let elements = self.output.elements();
        if elements == 0 {
            return Ok(());
        }
        let mut arguments: Vec<Argument> =
            self.parameters.iter().map(|(_, argument)| *argument).collect();
        arguments.push(Argument::Address(self.output.address));
        if let Some(what) = self.fault {
            let (fault, code) = target.fault(what);
            arguments.extend([Argument::Address(fault), Argument::U32(code)]);
        }
        target.launch(Launch {
            name: self.name.to_owned(),
            source: self.source(body),
            entry: "indexed",
            shape: LaunchShape::linear(elements, 128),
            arguments,
        })
    }

    fn source(&self, body: &str) -> String {
        let output = &self.output;
        let elements = output.elements();
        let mut text = String::new();
        let w = &mut text;
        let index = index_type(elements);
        let _ = writeln!(w, "\ntypedef {index} Index;\n{}", self.declarations);
        let parameters: String =
            self.parameters.iter().map(|(declaration, _)| format!("{declaration}, ")).collect();
        let faults = if self.fault.is_some() { ", u32* fault, u32 code" } else { "" };
        let _ = writeln!(w, "KERNEL indexed({parameters}{}* out{faults}) {{", stored(output.dtype));
        let _ = writeln!(w, "    const Index i = (Index)blockIdx.x * blockDim.x + threadIdx.x;");
        let _ = writeln!(w, "    if (i >= (Index){elements}ll) return;");
        let _ = writeln!(w, "    Index rest = i;");
        for (axis, &dim) in output.shape.iter().enumerate().rev() {
            let _ = writeln!(
                w,
                "    const Index c{axis} = rest % (Index){dim}ll; rest /= (Index){dim}ll;"
            );
        }
        let _ = writeln!(w, "    {} y;\n{body}", computed(output.dtype));
        let place: String = output
            .strides()
            .iter()
            .enumerate()
            .map(|(axis, stride)| format!(" + c{axis} * (Index){stride}ll"))
            .collect();
        let _ = writeln!(w, "    out[0{place}] = Io<{}>::put(y);\n}}", stored(output.dtype));
        text
    }
}

/// The integer type that counts so many elements: `i32` where a few blocks more than that do not overflow it.
pub fn index_type(elements: usize) -> &'static str {
    if elements < (1 << 31) - (1 << 16) { "i32" } else { "i64" }
}

/// A table of integers as a declaration.
pub fn table(name: &str, values: &[i64]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value}ll")).collect();
    let list = if values.is_empty() { "0".to_owned() } else { values.join(",") };
    format!("static __device__ const i64 {name}[] = {{{list}}};")
}

/// A table of doubles, exactly, as a declaration; `get(index)` of that name with `_at` reads it.
pub fn real_table(name: &str, values: &[f64]) -> String {
    let values: Vec<String> =
        values.iter().map(|value| format!("0x{:x}ull", value.to_bits())).collect();
    let list = if values.is_empty() { "0".to_owned() } else { values.join(",") };
    format!(
        "static __device__ const u64 {name}[] = {{{list}}};\n\
         static INLINE f64 {name}_at(int index) {{ return f64_bits({name}[index]); }}"
    )
}
