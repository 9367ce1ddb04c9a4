//! A descriptor of the library's graph interface, owned.

use super::check;
use crate::driver::CudaError;
use cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind,
};
use std::ffi::c_void;

pub struct Descriptor {
    raw: sys::cudnnBackendDescriptor_t,
}

// SAFETY: a descriptor is memory of the library that is not bound to a thread; one thread at a time uses it.
unsafe impl Send for Descriptor {}
// SAFETY: once finalized it is only read.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    pub fn new(kind: Kind) -> Result<Descriptor, CudaError> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: writes one handle, destroyed in `drop`.
        check("cudnnBackendCreateDescriptor", unsafe {
            sys::cudnnBackendCreateDescriptor(kind, &mut raw)
        })?;
        Ok(Descriptor { raw })
    }

    pub fn raw(&self) -> sys::cudnnBackendDescriptor_t {
        self.raw
    }

    /// Completes it; nothing can be set afterwards.
    pub fn finalize(self) -> Result<Descriptor, CudaError> {
        // SAFETY: the handle lives.
        check("cudnnBackendFinalize", unsafe { sys::cudnnBackendFinalize(self.raw) })?;
        Ok(self)
    }

    /// Sets an attribute whose elements are stored as `T` is: enumerations as 32 bits, booleans as one byte.
    fn set<T: Copy>(self, name: Name, of: Type, values: &[T]) -> Result<Descriptor, CudaError> {
        // SAFETY: the library copies the elements, which are of the type that `of` names.
        let status = unsafe {
            sys::cudnnBackendSetAttribute(
                self.raw,
                name,
                of,
                values.len() as i64,
                values.as_ptr().cast::<c_void>(),
            )
        };
        check(&format!("cudnnBackendSetAttribute {name:?}"), status)?;
        Ok(self)
    }

    pub fn with_i64s(self, name: Name, values: &[i64]) -> Result<Descriptor, CudaError> {
        self.set(name, Type::CUDNN_TYPE_INT64, values)
    }

    pub fn with_f32(self, name: Name, value: f32) -> Result<Descriptor, CudaError> {
        self.set(name, Type::CUDNN_TYPE_FLOAT, &[value])
    }

    pub fn with_f64(self, name: Name, value: f64) -> Result<Descriptor, CudaError> {
        self.set(name, Type::CUDNN_TYPE_DOUBLE, &[value])
    }

    pub fn with_bool(self, name: Name, value: bool) -> Result<Descriptor, CudaError> {
        self.set(name, Type::CUDNN_TYPE_BOOLEAN, &[value])
    }

    /// An enumeration of the type that `of` names.
    pub fn with_code(self, name: Name, of: Type, code: u32) -> Result<Descriptor, CudaError> {
        self.set(name, of, &[code])
    }

    pub fn with_handle(
        self,
        name: Name,
        handle: sys::cudnnHandle_t,
    ) -> Result<Descriptor, CudaError> {
        self.set(name, Type::CUDNN_TYPE_HANDLE, &[handle])
    }

    pub fn with_pointers(self, name: Name, values: &[u64]) -> Result<Descriptor, CudaError> {
        self.set(name, Type::CUDNN_TYPE_VOID_PTR, values)
    }

    /// Other descriptors, which the library refers to from then on.
    pub fn with_descriptors(
        self,
        name: Name,
        others: &[&Descriptor],
    ) -> Result<Descriptor, CudaError> {
        let raw: Vec<_> = others.iter().map(|other| other.raw).collect();
        self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &raw)
    }

    /// Elements of an attribute, at most `capacity`. `T` is stored as the elements of type `of` are.
    fn get<T: Copy + Default>(
        &self,
        name: Name,
        of: Type,
        capacity: usize,
    ) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::default(); capacity];
        let mut count = 0;
        // SAFETY: writes at most `capacity` elements of the type that `of` names.
        let status = unsafe {
            sys::cudnnBackendGetAttribute(
                self.raw,
                name,
                of,
                capacity as i64,
                &mut count,
                values.as_mut_ptr().cast::<c_void>(),
            )
        };
        check(&format!("cudnnBackendGetAttribute {name:?}"), status)?;
        values.truncate(usize::try_from(count).unwrap_or(0));
        Ok(values)
    }

    pub fn i64(&self, name: Name) -> Result<i64, CudaError> {
        let values = self.get::<i64>(name, Type::CUDNN_TYPE_INT64, 1)?;
        values.first().copied().ok_or_else(|| {
            CudaError::unsupported(format!("cudnnBackendGetAttribute {name:?}"), "it is empty")
        })
    }

    /// Enumerations of the type that `of` names. As numbers: a newer library may know more of them.
    pub fn codes(&self, name: Name, of: Type, capacity: usize) -> Result<Vec<u32>, CudaError> {
        self.get(name, of, capacity)
    }

    /// Descriptors of one kind that an attribute refers to, at most `capacity`.
    pub fn descriptors(
        &self,
        name: Name,
        kind: Kind,
        capacity: usize,
    ) -> Result<Vec<Descriptor>, CudaError> {
        let mut filled: Vec<Descriptor> =
            (0..capacity).map(|_| Descriptor::new(kind)).collect::<Result<_, _>>()?;
        let mut raw: Vec<_> = filled.iter().map(|descriptor| descriptor.raw).collect();
        let mut count = 0;
        // SAFETY: fills at most `capacity` descriptors that exist and are of that kind.
        let status = unsafe {
            sys::cudnnBackendGetAttribute(
                self.raw,
                name,
                Type::CUDNN_TYPE_BACKEND_DESCRIPTOR,
                capacity as i64,
                &mut count,
                raw.as_mut_ptr().cast::<c_void>(),
            )
        };
        check(&format!("cudnnBackendGetAttribute {name:?}"), status)?;
        filled.truncate(usize::try_from(count).unwrap_or(0));
        Ok(filled)
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: made in `new`; what refers to it keeps what it needs.
        let _ = unsafe { sys::cudnnBackendDestroyDescriptor(self.raw) };
    }
}
