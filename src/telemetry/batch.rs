//! Requests of OTLP from items that are encoded already.
//!
//! The requests of all signals have the same shape: field 1 of a request has a resource in field 1 and, in field 2, a
//! scope in field 1 and the items in field 2. So items are put together as bytes, and none is decoded again.

use prost::{Message, encode_length_delimiter};

use super::queue::Item;

/// The wire type of fields with a length (Protocol Buffers, "Message Structure").
const LENGTH_DELIMITED: u8 = 2;

/// The field of items in their scope.
const ITEMS_FIELD: u8 = 2;

/// Appends `contents` as the field `number`.
fn put_field(number: u8, contents: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | LENGTH_DELIMITED);
    encode_length_delimiter(contents.len(), out).expect("a Vec has room");
    out.extend_from_slice(contents);
}

/// An item for the queue: a span, a log record.
pub(super) fn put_item(item: &impl Message, out: &mut Vec<u8>) {
    out.push(ITEMS_FIELD << 3 | LENGTH_DELIMITED);
    item.encode_length_delimited(out).expect("a Vec has room");
}

/// The request that exports `items` of a `resource` and a `scope`, which are encoded.
pub(super) fn request(resource: &[u8], scope: &[u8], items: &[Item]) -> Vec<u8> {
    let bytes: usize = items.iter().map(|item| item.len()).sum();
    let mut scoped = Vec::with_capacity(bytes + scope.len() + 16);
    put_field(1, scope, &mut scoped);
    for item in items {
        scoped.extend_from_slice(item);
    }
    let mut of_resource = Vec::with_capacity(scoped.len() + resource.len() + 16);
    put_field(1, resource, &mut of_resource);
    put_field(2, &scoped, &mut of_resource);
    let mut request = Vec::with_capacity(of_resource.len() + 16);
    put_field(1, &of_resource, &mut request);
    request
}
