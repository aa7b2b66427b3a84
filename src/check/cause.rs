//! Well-known causes of failed checks, such as a missing intermediate certificate.

use super::string_enum::string_enum;

string_enum! {
    /// A well-known cause of a failure, beyond its reason.
    Cause {
        /// The server sends its certificate without the intermediate ones that lead to an authority.
        IncompleteChain => "incomplete_chain",
        /// The certificate is signed by its own key.
        SelfSigned => "self_signed",
        /// A network that wants a login answers in place of the target.
        CaptivePortal => "captive_portal",
        /// A content delivery network answers in place of the target.
        CdnErrorPage => "cdn_error_page",
    }
}

impl Cause {
    /// The cause in words.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::IncompleteChain => {
                "the server sends no intermediate certificate; browsers may have it already"
            }
            Self::SelfSigned => "the certificate is signed by its own key",
            Self::CaptivePortal => "a network that wants a login answers in place of the target",
            Self::CdnErrorPage => {
                "a content delivery network answers in place of the target, with an error page"
            }
        }
    }
}
