//! Memory: physical pages and the addresses they are mapped at, plain blocks, and pinned host memory.

use super::{Address, CudaError, check};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::sync::Arc;

/// A physical piece of device memory that may be mapped at several addresses, and exported.
pub struct PhysicalPage {
    handle: sys::CUmemGenericAllocationHandle,
    pub bytes: usize,
}

// SAFETY: a handle is not bound to a thread.
unsafe impl Send for PhysicalPage {}
// SAFETY: as above.
unsafe impl Sync for PhysicalPage {}

fn properties(ordinal: i32) -> sys::CUmemAllocationProp {
    let location = sys::CUmemLocation {
        type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
        id: ordinal,
    };
    // SAFETY: all fields are plain integers for which zero is a valid value.
    let mut properties: sys::CUmemAllocationProp = unsafe { std::mem::zeroed() };
    properties.type_ = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.requestedHandleTypes =
        sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    properties.location = location;
    properties
}

impl PhysicalPage {
    /// `bytes` is a multiple of [`PhysicalPage::granularity`].
    pub fn new(ordinal: i32, bytes: usize) -> Result<PhysicalPage, CudaError> {
        let mut handle = 0;
        // SAFETY: writes one handle, released in `drop`.
        check("cuMemCreate", unsafe {
            sys::cuMemCreate(&mut handle, bytes, &properties(ordinal), 0)
        })?;
        Ok(PhysicalPage { handle, bytes })
    }

    /// The unit of page sizes on a device, in bytes.
    pub fn granularity(ordinal: i32) -> Result<usize, CudaError> {
        let mut bytes = 0;
        let minimum = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
        // SAFETY: writes one size.
        check("cuMemGetAllocationGranularity", unsafe {
            sys::cuMemGetAllocationGranularity(&mut bytes, &properties(ordinal), minimum)
        })?;
        Ok(bytes)
    }
}

impl Drop for PhysicalPage {
    fn drop(&mut self) {
        // SAFETY: made in `new`; the memory stays until its last mapping is gone.
        let _ = unsafe { sys::cuMemRelease(self.handle) };
    }
}

/// A range of addresses with nothing behind them yet.
pub struct Reservation {
    pub address: Address,
    pub bytes: usize,
}

impl Reservation {
    /// Reserves addresses; `bytes` is a multiple of the page size that will be mapped there.
    pub fn new(bytes: usize) -> Result<Reservation, CudaError> {
        let mut address = 0;
        // SAFETY: writes one address, freed in `drop`.
        check("cuMemAddressReserve", unsafe {
            sys::cuMemAddressReserve(&mut address, bytes, 0, 0, 0)
        })?;
        Ok(Reservation { address, bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: reserved in `new`; mappings hold the reservation alive, so none is left.
        let _ = unsafe { sys::cuMemAddressFree(self.address, self.bytes) };
    }
}

/// A physical page at an address, readable and writable by its device. Unmapped when dropped.
pub struct Mapping {
    address: Address,
    bytes: usize,
    _page: Arc<PhysicalPage>,
    _reservation: Arc<Reservation>,
}

impl Mapping {
    /// Maps `page` at `offset` of a reservation, where nothing is mapped.
    pub fn new(
        reservation: &Arc<Reservation>,
        offset: usize,
        page: &Arc<PhysicalPage>,
        ordinal: i32,
    ) -> Result<Mapping, CudaError> {
        assert!(offset + page.bytes <= reservation.bytes, "a page lies within its region");
        let address = reservation.address + offset as u64;
        // SAFETY: the range is reserved and free.
        check("cuMemMap", unsafe { sys::cuMemMap(address, page.bytes, 0, page.handle, 0) })?;
        let mapping = Mapping {
            address,
            bytes: page.bytes,
            _page: page.clone(),
            _reservation: reservation.clone(),
        };
        let access = sys::CUmemAccessDesc {
            location: properties(ordinal).location,
            flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        // SAFETY: the range was mapped above; on failure `mapping` unmaps it.
        check("cuMemSetAccess", unsafe { sys::cuMemSetAccess(address, page.bytes, &access, 1) })?;
        Ok(mapping)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`; nothing reads it any more.
        let _ = unsafe { sys::cuMemUnmap(self.address, self.bytes) };
    }
}

/// A plain allocation of device memory.
pub struct DeviceBlock {
    pub address: Address,
    pub bytes: usize,
}

impl DeviceBlock {
    pub fn new(bytes: usize) -> Result<DeviceBlock, CudaError> {
        let mut address = 0;
        // SAFETY: writes one address, freed in `drop`.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut address, bytes.max(1)) })?;
        Ok(DeviceBlock { address, bytes })
    }
}

impl Drop for DeviceBlock {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`.
        let _ = unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// Pinned host memory of our own.
pub struct HostBlock {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the memory is owned and reachable from every thread.
unsafe impl Send for HostBlock {}
// SAFETY: shared access only reads.
unsafe impl Sync for HostBlock {}

impl HostBlock {
    pub fn new(bytes: usize) -> Result<HostBlock, CudaError> {
        let mut start = std::ptr::null_mut();
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: writes one pointer, freed in `drop`.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut start, bytes.max(1), flags) })?;
        // SAFETY: the memory was just allocated; it is zeroed so that reading it is defined.
        unsafe { std::ptr::write_bytes(start.cast::<u8>(), 0, bytes) };
        Ok(HostBlock { start: start.cast(), bytes })
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.start
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start
    }
}

impl AsRef<[u8]> for HostBlock {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: owned, initialised, `bytes` long.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }
}

impl AsMut<[u8]> for HostBlock {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: owned exclusively, initialised, `bytes` long.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no copy uses it any more.
        let _ = unsafe { sys::cuMemFreeHost(self.start.cast()) };
    }
}

/// Host memory of somebody else's, pinned and known to every device until this is dropped.
pub struct Registration<T: AsRef<[u8]>> {
    owner: T,
}

impl<T: AsRef<[u8]>> Registration<T> {
    /// Pins the bytes of `owner`, which stay where they are as long as it lives and is not written.
    pub fn new(owner: T) -> Result<Registration<T>, CudaError> {
        let bytes = owner.as_ref();
        let flags = sys::CU_MEMHOSTREGISTER_PORTABLE | sys::CU_MEMHOSTREGISTER_DEVICEMAP;
        let start = bytes.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: the range is owned by `owner`, which outlives the registration.
        check("cuMemHostRegister", unsafe {
            sys::cuMemHostRegister_v2(start, bytes.len(), flags)
        })?;
        Ok(Registration { owner })
    }

    pub fn bytes(&self) -> &[u8] {
        self.owner.as_ref()
    }
}

impl<T: AsRef<[u8]>> Drop for Registration<T> {
    fn drop(&mut self) {
        let start = self.owner.as_ref().as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: registered in `new`; no copy uses it any more.
        let _ = unsafe { sys::cuMemHostUnregister(start) };
    }
}
