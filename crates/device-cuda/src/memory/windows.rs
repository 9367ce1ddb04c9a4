//! Addresses of the link's own, one for each page: a copy may begin through them while the page is being mapped into a
//! model's region, which takes as long as copying some megabytes.

use super::Pages;
use crate::driver::{Address, CudaError, Mapping, Reservation};
use std::sync::Arc;
use sublet_units::PageId;

/// A second mapping of pages, opened page by page and kept.
pub struct Windows {
    reservation: Option<Arc<Reservation>>,
    open: Vec<Option<Mapping>>,
    page_bytes: usize,
}

impl Windows {
    /// Reserves addresses for all pages; none is open.
    pub fn new(pages: &Pages) -> Result<Windows, CudaError> {
        let (count, page_bytes) = (pages.count() as usize, pages.page_bytes);
        let reservation = match count {
            0 => None,
            count => Some(Arc::new(Reservation::new(count * page_bytes)?)),
        };
        Ok(Windows { reservation, open: (0..count).map(|_| None).collect(), page_bytes })
    }

    /// Where a page can be written, if its window is open. What is written is read through a region only behind the end of
    /// the copy that wrote it.
    pub fn address(&self, page: PageId) -> Option<Address> {
        let at = page.0 as usize;
        let reservation = self.reservation.as_ref()?;
        self.open[at].as_ref().map(|_| reservation.address + (at * self.page_bytes) as u64)
    }

    /// Opens a page's window; it stays open.
    pub fn open(&mut self, page: PageId, pages: &Pages) -> Result<(), CudaError> {
        let at = page.0 as usize;
        let Some(reservation) = &self.reservation else { return Ok(()) };
        if self.open[at].is_none() {
            let offset = at * self.page_bytes;
            let mapping = Mapping::new(reservation, offset, pages.page(page), pages.ordinal)?;
            self.open[at] = Some(mapping);
        }
        Ok(())
    }
}
