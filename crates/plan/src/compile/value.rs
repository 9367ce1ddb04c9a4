//! What is known of a value while a plan is made.

use sublet_graph::{DType, InferInput, Literal, TensorType, WeightId};

/// Index into the emitter's values. Values of inlined bodies and of the outer graph share one numbering.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Id(pub usize);

#[derive(Clone, Debug)]
pub struct Value {
    pub dtype: DType,
    pub shape: Option<Vec<usize>>,
    /// The elements, where they are known already.
    pub literal: Option<Literal>,
    pub home: Home,
}

/// What an operand that reads the value refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// Given or computed at run time.
    Computed,
    Weight(WeightId),
    /// [`Value::literal`].
    Literal,
    /// The same bytes as another value, which is `Computed`, under another shape.
    View(Id),
}

impl Value {
    pub fn computed(of: TensorType) -> Self {
        Value { dtype: of.dtype, shape: of.shape, literal: None, home: Home::Computed }
    }

    pub fn literal(literal: Literal) -> Self {
        Value {
            dtype: literal.dtype(),
            shape: Some(literal.shape().to_vec()),
            literal: Some(literal),
            home: Home::Literal,
        }
    }

    pub fn infer_input(&self) -> InferInput<'_> {
        InferInput { dtype: self.dtype, shape: self.shape.as_deref(), value: self.literal.as_ref() }
    }

    /// A one-element value as a truth value, where it is known.
    pub fn known_bool(&self) -> Option<bool> {
        let literal = self.literal.as_ref().filter(|literal| literal.dtype() == DType::Bool)?;
        (literal.len() == 1).then(|| literal.bytes()[0] != 0)
    }

    /// A one-element value as a number, where it is known.
    pub fn known_i64(&self) -> Option<i64> {
        let values = self.literal.as_ref()?.to_i64s()?;
        (values.len() == 1).then(|| values[0])
    }
}
