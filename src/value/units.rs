//! Splits texts of numbers with units, such as `1m30s` and `1MB512KB`.

/// The numbers in `text` with their units; `None` if it has another form.
pub(super) fn split(text: &str) -> Option<Vec<(f64, &str)>> {
    let mut quantities = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let number_ends = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_ends);
        let unit_ends = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_ends);
        quantities.push((number.parse().ok()?, unit));
        rest = tail;
    }
    (!quantities.is_empty()).then_some(quantities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[(f64, &str)]>) {
        assert_eq!(split(text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn every_number_has_its_unit() {
        check("1m30s", Some(&[(1.0, "m"), (30.0, "s")]));
        check("1.5MB", Some(&[(1.5, "MB")]));
        for text in [
            "", "5", "s", "5 s", "-5s", "+5s", "5s ", "1.2.3s", ".s", "\u{663}s",
        ] {
            check(text, None);
        }
    }
}
