//! Pages and who has them: plain arithmetic, no pointers.
