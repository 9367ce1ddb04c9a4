//! Descriptors of the library, and the call they describe.
//!
//! The library thinks in columns. A row-major matrix is its own transpose there, so `dᵀ = bᵀ · aᵀ` is computed: the
//! library's A is our `b`, its rows are our columns, and its bias per row is our bias per column.

use super::{Blas, Compute, Handle, Matrix, Product, ProductChoice, Round, check};
use crate::driver::{Address, CudaError, Stream};
use crate::program::Enqueue;
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as ComputeType, cublasLtEpilogue_t as Epilogue,
    cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulPreferenceAttributes_t as Preference,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType_t as DataType,
};
use std::ffi::c_void;
use std::mem::size_of;
use std::sync::Arc;
use sublet_graph::DType;

/// What NVIDIA recommends for Hopper.
const WORKSPACE_BYTES: u64 = 32 << 20;
/// How many algorithms are asked for.
const CHOICES: usize = 16;
/// Sums in one sequence, or partial sums kept in the type of computation and added in a fixed order.
const REDUCTIONS: u32 = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32
    | sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;

/// The library's words for taking a matrix as it lies, and transposed.
const OP_N: i32 = 0;
const OP_T: i32 = 1;

/// A product that can be put on a stream.
pub struct Call {
    handle: Arc<Handle>,
    description: Description,
    algorithm: sys::cublasLtMatmulAlgo_t,
    alpha: Scalar,
    beta: Scalar,
    /// The library's A, B, C, D.
    operands: [Address; 4],
    workspace: Address,
    workspace_bytes: usize,
    name: String,
}

// SAFETY: descriptors are plain host memory that only this value uses.
unsafe impl Send for Call {}

impl Call {
    pub fn new(
        blas: &Blas,
        product: &Product,
        choice: &ProductChoice,
        operands: &[Address],
        workspace: Address,
    ) -> Result<Call, CudaError> {
        let (a, b, d) = (operands[0], operands[1], operands[2]);
        let mut rest = operands[3..].iter().copied();
        let c = if product.c.is_some() { rest.next().expect("an address of c") } else { d };
        let bias =
            if product.bias { Some(rest.next().expect("an address of the bias")) } else { None };
        let description = Description::new(product)?;
        if let Some(bias) = bias {
            description.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
        }
        Ok(Call {
            handle: blas.handle.clone(),
            description,
            algorithm: sys::cublasLtMatmulAlgo_t { data: choice.algorithm },
            alpha: Scalar::new(product.compute, product.alpha),
            beta: Scalar::new(product.compute, product.beta),
            operands: [b, a, c, d],
            workspace,
            workspace_bytes: choice.workspace_bytes,
            name: format!(
                "product {}x{}x{}x{} {}",
                product.batch,
                product.m,
                product.n,
                product.k,
                product.dtype.wire_name()
            ),
        })
    }
}

impl Enqueue for Call {
    fn enqueue(&self, stream: &Stream) -> Result<(), CudaError> {
        let [a, b, c, d] = self.operands;
        let Description { operation, layouts: [a_layout, b_layout, c_layout, d_layout] } =
            &self.description;
        // SAFETY: descriptors and handle live; the addresses are mapped for the extents that the layouts describe
        // while a program runs; the scalars are of the type that the operation names.
        let status = unsafe {
            sys::cublasLtMatmul(
                self.handle.raw,
                operation.raw,
                self.alpha.pointer(),
                pointer(a),
                a_layout.raw,
                pointer(b),
                b_layout.raw,
                self.beta.pointer(),
                pointer(c),
                c_layout.raw,
                pointer(d).cast_mut(),
                d_layout.raw,
                &self.algorithm,
                pointer(self.workspace).cast_mut(),
                self.workspace_bytes,
                stream.raw().cast(),
            )
        };
        check(&format!("cublasLtMatmul of {}", self.name), status)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// The algorithms that the library recommends, its favourite first.
pub fn choices(blas: &Blas, product: &Product) -> Result<Vec<ProductChoice>, CudaError> {
    let description = Description::new(product)?;
    if product.bias {
        // Only that there is one, and how it is aligned, matters here.
        let bias: Address = 1 << 20 | product.alignment as u64;
        description.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias)?;
    }
    let preference = OwnedPreference::new(product.alignment)?;
    // SAFETY: plain data for which zero is a valid value.
    let mut results: [sys::cublasLtMatmulHeuristicResult_t; CHOICES] =
        unsafe { std::mem::zeroed() };
    let mut found = 0;
    let Description { operation, layouts: [a, b, c, d] } = &description;
    // SAFETY: all descriptors live; at most `CHOICES` results are written.
    check("cublasLtMatmulAlgoGetHeuristic", unsafe {
        sys::cublasLtMatmulAlgoGetHeuristic(
            blas.handle.raw,
            operation.raw,
            a.raw,
            b.raw,
            c.raw,
            d.raw,
            preference.raw,
            CHOICES as i32,
            results.as_mut_ptr(),
            &mut found,
        )
    })?;
    let found = usize::try_from(found).unwrap_or(0);
    let usable = results.iter().take(found).filter(|result| {
        result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS
            && result.workspaceSize as u64 <= WORKSPACE_BYTES
    });
    Ok(usable
        .map(|result| ProductChoice {
            algorithm: result.algo.data,
            workspace_bytes: result.workspaceSize,
        })
        .collect())
}

fn pointer(address: Address) -> *const c_void {
    address as *const c_void
}

/// A factor in the type that the library reads it in.
struct Scalar([u8; 8]);

impl Scalar {
    fn new(compute: Compute, value: f64) -> Scalar {
        let mut bytes = [0; 8];
        match compute {
            Compute::F32 | Compute::Tf32 => {
                bytes[..4].copy_from_slice(&(value as f32).to_ne_bytes())
            }
            Compute::F64 => bytes.copy_from_slice(&value.to_ne_bytes()),
            Compute::I32 => bytes[..4].copy_from_slice(&(value as i32).to_ne_bytes()),
        }
        Scalar(bytes)
    }

    fn pointer(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
}

/// The operation and the layouts of the library's A, B, C, D.
struct Description {
    operation: Operation,
    layouts: [Layout; 4],
}

struct Operation {
    raw: sys::cublasLtMatmulDesc_t,
}

struct Layout {
    raw: sys::cublasLtMatrixLayout_t,
}

struct OwnedPreference {
    raw: sys::cublasLtMatmulPreference_t,
}

impl Description {
    fn new(product: &Product) -> Result<Description, CudaError> {
        let (compute, scale) = match product.compute {
            Compute::F32 => (ComputeType::CUBLAS_COMPUTE_32F, DataType::CUDA_R_32F),
            Compute::Tf32 => (ComputeType::CUBLAS_COMPUTE_32F_FAST_TF32, DataType::CUDA_R_32F),
            Compute::F64 => (ComputeType::CUBLAS_COMPUTE_64F, DataType::CUDA_R_64F),
            Compute::I32 => (ComputeType::CUBLAS_COMPUTE_32I, DataType::CUDA_R_32I),
        };
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cublasLtMatmulDescCreate", unsafe {
            sys::cublasLtMatmulDescCreate(&mut raw, compute, scale)
        })?;
        let (input, output) = (data_type(product.dtype)?, data_type(product.out)?);
        let &Product { m, n, k, batch, .. } = product;
        let description = Description {
            operation: Operation { raw },
            layouts: [
                Layout::new(input, k, n, &product.b, batch)?,
                Layout::new(input, m, k, &product.a, batch)?,
                Layout::new(output, m, n, product.c.as_ref().unwrap_or(&product.d), batch)?,
                Layout::new(output, m, n, &product.d, batch)?,
            ],
        };
        let operation = |matrix: &Matrix| if matrix.transposed { OP_T } else { OP_N };
        description.set(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, &operation(&product.b))?;
        description.set(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, &operation(&product.a))?;
        let epilogue = match (product.round, product.bias) {
            (Round::None, false) => Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
            (Round::None, true) => Epilogue::CUBLASLT_EPILOGUE_BIAS,
            (Round::Relu, false) => Epilogue::CUBLASLT_EPILOGUE_RELU,
            (Round::Relu, true) => Epilogue::CUBLASLT_EPILOGUE_RELU_BIAS,
            (Round::Gelu, false) => Epilogue::CUBLASLT_EPILOGUE_GELU,
            (Round::Gelu, true) => Epilogue::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        description.set(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as u32))?;
        Ok(description)
    }

    fn set<T: Copy>(&self, attribute: DescAttribute, value: &T) -> Result<(), CudaError> {
        // SAFETY: the library copies as many bytes as the value has, and checks that it expects as many.
        check("cublasLtMatmulDescSetAttribute", unsafe {
            sys::cublasLtMatmulDescSetAttribute(
                self.operation.raw,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        })
    }
}

impl Layout {
    /// Of our `rows` × `cols`.
    fn new(
        dtype: DataType,
        rows: usize,
        cols: usize,
        matrix: &Matrix,
        batch: usize,
    ) -> Result<Layout, CudaError> {
        // What lies side by side are the rows of the library.
        let (side, across) = if matrix.transposed { (rows, cols) } else { (cols, rows) };
        // Where there is nothing to step over, any step will do but one that is too small.
        let step = if across == 1 { matrix.step.max(side) } else { matrix.step };
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cublasLtMatrixLayoutCreate", unsafe {
            sys::cublasLtMatrixLayoutCreate(
                &mut raw,
                dtype,
                side as u64,
                across as u64,
                step as i64,
            )
        })?;
        let layout = Layout { raw };
        if batch > 1 {
            let count = i32::try_from(batch).map_err(|_| {
                CudaError::unsupported("cublasLtMatrixLayoutCreate", format!("{batch} products"))
            })?;
            layout.set(LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count)?;
            let step = matrix.batch_step as i64;
            layout.set(LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step)?;
        }
        Ok(layout)
    }

    fn set<T: Copy>(&self, attribute: LayoutAttribute, value: &T) -> Result<(), CudaError> {
        // SAFETY: the library copies as many bytes as the value has, and checks that it expects as many.
        check("cublasLtMatrixLayoutSetAttribute", unsafe {
            sys::cublasLtMatrixLayoutSetAttribute(
                self.raw,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        })
    }
}

impl OwnedPreference {
    fn new(alignment: usize) -> Result<OwnedPreference, CudaError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cublasLtMatmulPreferenceCreate", unsafe {
            sys::cublasLtMatmulPreferenceCreate(&mut raw)
        })?;
        let preference = OwnedPreference { raw };
        preference.set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
        preference.set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &REDUCTIONS)?;
        for attribute in [
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ] {
            preference.set(attribute, &(alignment as u32))?;
        }
        Ok(preference)
    }

    fn set<T: Copy>(&self, attribute: Preference, value: &T) -> Result<(), CudaError> {
        // SAFETY: the library copies as many bytes as the value has, and checks that it expects as many.
        check("cublasLtMatmulPreferenceSetAttribute", unsafe {
            sys::cublasLtMatmulPreferenceSetAttribute(
                self.raw,
                attribute,
                std::ptr::from_ref(value).cast(),
                size_of::<T>(),
            )
        })
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: made together with this value.
        let _ = unsafe { sys::cublasLtMatmulDescDestroy(self.raw) };
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: made together with this value.
        let _ = unsafe { sys::cublasLtMatrixLayoutDestroy(self.raw) };
    }
}

impl Drop for OwnedPreference {
    fn drop(&mut self) {
        // SAFETY: made together with this value.
        let _ = unsafe { sys::cublasLtMatmulPreferenceDestroy(self.raw) };
    }
}

fn data_type(dtype: DType) -> Result<DataType, CudaError> {
    Ok(match dtype {
        DType::F32 => DataType::CUDA_R_32F,
        DType::F16 => DataType::CUDA_R_16F,
        DType::BF16 => DataType::CUDA_R_16BF,
        DType::F64 => DataType::CUDA_R_64F,
        DType::I8 => DataType::CUDA_R_8I,
        DType::I32 => DataType::CUDA_R_32I,
        other => {
            let text = format!("products of {}", other.wire_name());
            return Err(CudaError::unsupported("cuBLASLt", text));
        }
    })
}
