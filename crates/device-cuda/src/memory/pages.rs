//! Physical pages, taken once when the device starts.

use crate::driver::{CudaError, PhysicalPage};
use std::sync::Arc;
use sublet_units::{Bytes, PageId};

/// All pages of the device's budget. Who has which page is decided above the device.
pub struct Pages {
    pages: Vec<Arc<PhysicalPage>>,
    pub page_bytes: usize,
    /// The device that the pages belong to, for mapping them.
    pub ordinal: i32,
}

impl Pages {
    /// Takes as many whole pages as fit into `budget`.
    ///
    /// # Errors
    /// Out of memory, when the device has less free than the budget.
    pub fn new(ordinal: i32, page_bytes: Bytes, budget: Bytes) -> Result<Pages, CudaError> {
        let page_bytes = page_bytes.as_usize();
        let granularity = PhysicalPage::granularity(ordinal)?;
        if !page_bytes.is_multiple_of(granularity) {
            let text = format!("a page of {page_bytes} bytes is not a multiple of {granularity}");
            return Err(CudaError::unsupported("choosing a page size", text));
        }
        let count = budget.as_usize() / page_bytes;
        let pages = (0..count)
            .map(|_| PhysicalPage::new(ordinal, page_bytes).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Pages { pages, page_bytes, ordinal })
    }

    pub fn count(&self) -> u32 {
        self.pages.len() as u32
    }

    pub fn page(&self, id: PageId) -> &Arc<PhysicalPage> {
        &self.pages[id.0 as usize]
    }
}
