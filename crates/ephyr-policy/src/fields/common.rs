//! Fields and shapes that several tables share.

use crate::format::Format;
use crate::shape::{Field, Shape};

const TEXT: Shape = Shape::Text(Format::Description);
pub(super) const LIST_OF_CIDRS: Shape = Shape::List {
    of: &Shape::Text(Format::Cidr),
    empty: true,
};
pub(super) const DESCRIPTION: Field = Field::new("description", TEXT, "Free text for operators.");
pub(super) const ENABLED: Field =
    Field::new("enabled", Shape::Bool, "Whether it may be used.").default("true");

pub(super) const PORT: Shape = Shape::Int {
    min: 1,
    max: 65_535,
};
