//! Tensors that clients see in another shape than the model does: `reshape` in a configuration.

/// Both shapes, without the batch dimension; −1 is dynamic, and the dynamic ones of both correspond in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reshape {
    client: Vec<i64>,
    model: Vec<i64>,
}

impl Reshape {
    /// `None` when the shapes do not always have equally many elements.
    pub fn new(client: &[i64], model: &[i64]) -> Option<Self> {
        let dynamic = |dims: &[i64]| dims.iter().filter(|&&dim| dim < 0).count();
        let fixed = |dims: &[i64]| {
            dims.iter().filter(|&&dim| dim > 0).try_fold(1i64, |all, &dim| all.checked_mul(dim))
        };
        let elements = fixed(client);
        let agree =
            dynamic(client) == dynamic(model) && elements.is_some() && elements == fixed(model);
        agree.then(|| Reshape { client: client.to_vec(), model: model.to_vec() })
    }

    /// `shape` begins with the batch dimension where the model `batches`. `None` when it is not of the client's form.
    pub fn to_model(&self, shape: &[usize], batches: bool) -> Option<Vec<usize>> {
        convert(shape, batches, &self.client, &self.model)
    }

    /// The inverse of [`Reshape::to_model`].
    pub fn to_client(&self, shape: &[usize], batches: bool) -> Option<Vec<usize>> {
        convert(shape, batches, &self.model, &self.client)
    }
}

fn convert(shape: &[usize], batches: bool, from: &[i64], to: &[i64]) -> Option<Vec<usize>> {
    let (batch, rest) = shape.split_at_checked(usize::from(batches))?;
    let fits = |(&size, &dim): (&usize, &i64)| dim < 0 || size as i64 == dim;
    if rest.len() != from.len() || !rest.iter().zip(from).all(fits) {
        return None;
    }
    let mut dynamic = rest.iter().zip(from).filter(|&(_, &dim)| dim < 0).map(|(&size, _)| size);
    let mut converted = batch.to_vec();
    for &dim in to {
        converted.push(if dim < 0 { dynamic.next()? } else { dim as usize });
    }
    Some(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_there_and_back() {
        let check =
            |client: &[i64], model: &[i64], batches, of_client: &[usize], of_model: &[usize]| {
                let reshape = Reshape::new(client, model).unwrap();
                assert_eq!(reshape.to_model(of_client, batches).unwrap(), of_model);
                assert_eq!(reshape.to_client(of_model, batches).unwrap(), of_client);
            };
        check(&[3, 4], &[1, 3, 4], false, &[3, 4], &[1, 3, 4]);
        check(&[1], &[], true, &[7, 1], &[7]);
        check(&[-1, 2, -1], &[2, -1, -1], true, &[9, 5, 2, 6], &[9, 2, 5, 6]);
        assert_eq!(Reshape::new(&[3, 4], &[3, 4]).unwrap().to_model(&[3, 5], false), None);
        assert_eq!(Reshape::new(&[1], &[]).unwrap().to_model(&[], true), None);
    }

    #[test]
    fn shapes_must_agree() {
        for (client, model) in
            [(&[3][..], &[4][..]), (&[-1], &[1]), (&[i64::MAX, 2], &[i64::MAX, 2])]
        {
            assert_eq!(Reshape::new(client, model), None, "{client:?} {model:?}");
        }
    }
}
