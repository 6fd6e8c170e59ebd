//! Where in a schema something is, told only when there is a fault.

use std::borrow::Cow;

use crate::clip;

/// The most characters of one name in a place.
const NAME_CHARS_MAX: usize = 60;

/// The most characters of what a reference names.
const POINTER_CHARS_MAX: usize = 200;

/// The most steps of a place that are told, counted from the place itself.
const STEPS_MAX: usize = 64;

/// Where a subschema was first met. The way there is kept as steps and not as a text: a name may be long, and a thousand
/// subschemas below it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// The whole schema.
    Root,
    /// As a reference names it.
    Pointer(&'a str),
    /// A keyword of another subschema.
    Keyword(usize, &'a str),
    /// A member of what a keyword of another subschema says.
    Member(usize, &'a str, &'a str),
    /// An item of what a keyword of another subschema says.
    Item(usize, &'a str, usize),
}

/// The text of a place, of bounded length.
pub(super) fn told(places: &[Place<'_>], index: usize) -> String {
    let mut steps = Vec::new();
    let mut next = Some(index);
    while let Some(place) = next.and_then(|index| places.get(index)) {
        next = match *place {
            Place::Root => None,
            Place::Pointer(pointer) => {
                steps.push(clip(pointer.trim_start_matches('/'), POINTER_CHARS_MAX));
                None
            }
            Place::Keyword(parent, keyword) => {
                steps.push(clip(keyword, NAME_CHARS_MAX));
                Some(parent)
            }
            Place::Member(parent, keyword, name) => {
                steps.extend([clip(name, NAME_CHARS_MAX), clip(keyword, NAME_CHARS_MAX)]);
                Some(parent)
            }
            Place::Item(parent, keyword, item) => {
                steps.extend([Cow::Owned(item.to_string()), clip(keyword, NAME_CHARS_MAX)]);
                Some(parent)
            }
        };
        if steps.len() > STEPS_MAX {
            steps.push(Cow::Borrowed("…"));
            break;
        }
    }
    steps.iter().rev().flat_map(|step| ["/", step]).collect()
}
