//! Names of Prometheus labels that users choose.

/// What is wrong with `name` as that of a label, and what is allowed
/// (<https://prometheus.io/docs/concepts/data_model/>).
///
/// # Errors
/// Both, where something is.
pub fn check_label_name(name: &str) -> Result<(), (String, &'static str)> {
    let mut bytes = name.bytes();
    let starts = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let allowed = "letters, digits and _, no digit first";
        return Err(("is no label name".to_owned(), allowed));
    }
    if name.starts_with("__") {
        let allowed = "no __ at the start";
        return Err(("is reserved for Prometheus".to_owned(), allowed));
    }
    Ok(())
}
