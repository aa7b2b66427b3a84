//! Quotes of received data that hide echoes of sent data.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};

/// Bytes of a quote.
const MAX_QUOTE: usize = 100;

/// Shorter words are quoted even if they were sent, because every text contains them.
const MIN_WORD: usize = 3;

/// The words that were sent to a peer, in lower case: any of them may be a password, which the peer
/// may repeat.
#[derive(Default)]
pub(crate) struct SentWords(Vec<Vec<u8>>);

impl SentWords {
    /// Adds the words of `sent`, also encoded in and decoded from base64.
    pub(crate) fn add(&mut self, sent: &[u8]) {
        for word in words(sent) {
            let encoded = BASE64_STANDARD_NO_PAD.encode(word);
            let decoded = BASE64_STANDARD.decode(word).unwrap_or_default();
            let forms = [word, encoded.as_bytes()]
                .into_iter()
                .chain(words(&decoded));
            self.0.extend(forms.map(<[u8]>::to_ascii_lowercase));
        }
    }

    /// The beginning of `received`, escaped; no part of it if it repeats a word that was sent.
    pub(crate) fn quote(&self, received: &[u8]) -> String {
        let shown = &received[..received.len().min(MAX_QUOTE)];
        if self.are_repeated_in(shown) {
            "something that repeats what was sent".to_owned()
        } else {
            quote(received)
        }
    }

    /// Returns whether `text` has one of the words in it, or ends with the beginning of one.
    fn are_repeated_in(&self, text: &[u8]) -> bool {
        let text = text.to_ascii_lowercase();
        self.0.iter().any(|word| {
            let ends_with_part = |length| text.ends_with(&word[..length]);
            text.windows(word.len()).any(|part| part == &**word)
                || (MIN_WORD..word.len().min(text.len() + 1)).any(ends_with_part)
        })
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_graphic())
        .filter(|word| word.len() >= MIN_WORD)
}

/// The beginning of received data, escaped, for a peer that was sent nothing secret.
pub(crate) fn quote(received: &[u8]) -> String {
    let shown = &received[..received.len().min(MAX_QUOTE)];
    let text = String::from_utf8_lossy(shown);
    let more = if received.len() > MAX_QUOTE {
        "…"
    } else {
        ""
    };
    format!("{text:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "something that repeats what was sent";

    fn sent(text: &[u8]) -> SentWords {
        let mut words = SentWords::default();
        words.add(text);
        words
    }

    #[test]
    fn a_quote_is_bounded_and_escaped() {
        let words = SentWords::default();
        assert_eq!(words.quote(b"554 no\x1b[2J\n"), r#""554 no\u{1b}[2J\n""#);
        assert_eq!(words.quote(b"\xff"), "\"\u{fffd}\"");
        let long = words.quote(&[b'x'; 5000]);
        assert_eq!(long, format!("\"{}\"…", "x".repeat(100)));
    }

    #[test]
    fn what_was_sent_is_not_quoted_in_any_form() {
        let words = sent(b"AUTH hunter2\r\n");
        assert_eq!(words.quote(b"-ERR no"), "\"-ERR no\"");
        for echo in [
            &b"-ERR unknown hunter2"[..],
            b"-ERR unknown HUNTER2",
            b"-ERR aHVudGVyMg== is wrong",
            // Cut off in the middle of it.
            b"-ERR unknown hun",
        ] {
            assert_eq!(words.quote(echo), HIDDEN, "{}", quote(echo));
        }
        let long = [&b"x".repeat(97)[..], b"hunter2"].concat();
        assert_eq!(words.quote(&long), HIDDEN);
        // "\0user\0hunter2"
        let plain = sent(b"AUTH PLAIN AHVzZXIAaHVudGVyMg==\r\n");
        assert_eq!(plain.quote(b"535 hunter2 is wrong"), HIDDEN);
    }

    #[test]
    fn words_of_one_or_two_letters_are_quoted() {
        assert_eq!(sent(b"a1 NO\r\n").quote(b"a1 BAD"), "\"a1 BAD\"");
    }
}
