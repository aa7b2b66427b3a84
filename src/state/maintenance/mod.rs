//! Maintenance windows: times in which the state of monitors is `maintenance`.

mod settings;
mod timetable;
mod window;

pub(crate) use settings::read_maintenance;
pub(super) use timetable::Timetable;
pub(crate) use window::Window;
