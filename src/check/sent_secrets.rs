//! Secrets that were sent to a peer, to keep a peer's echo of them out of the steps of a check.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};

/// Shorter parts are shown: they are found in every text.
const MIN_WORD: usize = 3;
const MIN_PART: usize = 4;

/// Bytes of what was sent that are looked at, and forms of its words that are looked for.
const MAX_BYTES: usize = 16 << 10;
const MAX_FORMS: usize = 400;

/// In place of a secret.
pub(super) const MASK: &str = "***";

/// Parts of what is sent that are no secrets, whoever sends them.
const COMMON: &[&str] = &[
    "application",
    "basic",
    "bearer",
    "body",
    "charset",
    "code",
    "data",
    "digest",
    "error",
    "false",
    "html",
    "http",
    "https",
    "json",
    "message",
    "name",
    "null",
    "query",
    "status",
    "text",
    "true",
    "type",
    "utf-8",
    "http/1.1",
    "http/1.0",
];

/// The secrets in what was sent, in the forms in which a peer may repeat them.
#[derive(Default)]
pub(super) struct SentSecrets(Vec<Vec<u8>>);

impl SentSecrets {
    /// Adds what is secret in `sent`: its words, and the parts of these.
    pub(super) fn add(&mut self, sent: &[u8]) {
        for word in words(&sent[..sent.len().min(MAX_BYTES)]) {
            self.add_word(word);
            let decoded = BASE64_STANDARD.decode(word).unwrap_or_default();
            words(&decoded).for_each(|word| self.add_word(word));
            let decoded: Vec<_> = percent_decode(word).collect();
            if decoded != word {
                words(&decoded).for_each(|word| self.add_word(word));
            }
        }
        // The longest first, so that no part of one is left beside the mask of another.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    fn add_word(&mut self, word: &[u8]) {
        self.add_forms(word);
        let parts = word.split(|byte| b"=&;,:\"'{}[]()<>?@|".contains(byte));
        for part in parts.filter(|part| part.len() >= MIN_PART && part.len() < word.len()) {
            self.add_forms(part);
        }
    }

    fn add_forms(&mut self, word: &[u8]) {
        let is_common = |common: &&str| word.eq_ignore_ascii_case(common.as_bytes());
        if self.0.len() >= MAX_FORMS || COMMON.iter().any(is_common) {
            return;
        }
        let escaped = word.escape_ascii().to_string();
        let encoded = percent_encode(word, NON_ALPHANUMERIC).to_string();
        let base64 = BASE64_STANDARD_NO_PAD.encode(word);
        let forms = [
            word,
            escaped.as_bytes(),
            encoded.as_bytes(),
            base64.as_bytes(),
        ];
        for form in forms {
            let form = form.to_ascii_lowercase();
            if !self.0.contains(&form) {
                self.0.push(form);
            }
        }
    }

    /// `text` with a mask in place of each secret, and of the beginning of one at its end if `is_cut`.
    pub(super) fn mask(&self, text: &[u8], is_cut: bool) -> Vec<u8> {
        if self.0.is_empty() {
            return text.to_vec();
        }
        let lower = text.to_ascii_lowercase();
        let mut masked = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &lower[at..];
            let starts = |form: &&Vec<u8>| form[0] == rest[0] && rest.starts_with(form);
            let ends = |form: &&Vec<u8>| {
                is_cut
                    && rest.len() >= MIN_WORD
                    && rest.len() < form.len()
                    && form.starts_with(rest)
            };
            if let Some(form) = self.0.iter().find(starts) {
                masked.extend_from_slice(MASK.as_bytes());
                at += form.len();
            } else if self.0.iter().any(|form| ends(&form)) {
                masked.extend_from_slice(MASK.as_bytes());
                break;
            } else {
                masked.push(text[at]);
                at += 1;
            }
        }
        masked
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_graphic() && byte.is_ascii())
        .filter(|word| word.len() >= MIN_WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(sent: &[u8], text: &str) -> String {
        let mut secrets = SentSecrets::default();
        secrets.add(sent);
        String::from_utf8_lossy(&secrets.mask(text.as_bytes(), true)).into_owned()
    }

    #[test]
    fn a_secret_is_masked_in_every_form_and_the_rest_is_not() {
        for (sent, said, masked) in [
            ("Bearer hunter2", "no hunter2 here", "no *** here"),
            ("Bearer hunter2", "Bearer HUNTER2", "Bearer ***"),
            ("Basic dXNlcjpodW50ZXIy", "hello hunter2", "hello ***"),
            ("Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy", "***"),
            (
                "token=hunter2&a=b",
                r#"{"token":"hunter2"}"#,
                r#"{"***":"***"}"#,
            ),
            ("key=a%2Fbc+de", "a/bc+de", "***"),
            ("a/bcdef", "a%2Fbcdef", "***"),
            ("hunter2", "aHVudGVyMg==", "***=="),
            ("pass\"word", "pass\\\"word", "***"),
            ("hunter2", "cut off: hun", "cut off: ***"),
            ("hunter2", "cut off: hu", "cut off: hu"),
            ("hunter2hunter", "hunter2hunter2", "***2"),
            ("pässwörd", "der pässwörd", "der ***"),
            ("a b", "a b", "a b"),
        ] {
            assert_eq!(mask(sent.as_bytes(), said), masked, "{sent}");
        }
    }

    #[test]
    fn the_number_of_forms_is_bounded() {
        let mut secrets = SentSecrets::default();
        let sent: Vec<_> = (0..100_000).map(|n| n.to_string()).collect();
        secrets.add(sent.join(" ").as_bytes());
        assert!(secrets.0.len() <= MAX_FORMS + 4, "{}", secrets.0.len());
    }
}
