//! One format of reports for simulated and live runs.
