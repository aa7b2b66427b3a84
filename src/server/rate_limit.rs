//! The limit of requests per second.

use parking_lot::Mutex;
use tokio::time::Instant;

/// A bucket that fills with as many tokens a second as it holds, and gives one to each request.
pub(super) struct RateLimiter {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimiter {
    /// A limiter of `per_second` requests per second, and as large a burst.
    pub fn new(per_second: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "at most a million")]
        let per_second = per_second as f64;
        Self {
            per_second,
            bucket: Mutex::new(Bucket {
                tokens: per_second,
                filled: Instant::now(),
            }),
        }
    }

    /// Returns whether a request at `now` is within the limit.
    pub fn try_acquire(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock();
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.per_second);
        bucket.filled = bucket.filled.max(now);
        let is_permitted = bucket.tokens >= 1.0;
        if is_permitted {
            bucket.tokens -= 1.0;
        }
        is_permitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn requests_per_second_are_limited() {
        let (rate, start) = (RateLimiter::new(10), Instant::now());
        let count = |at: u64| {
            let now = start + Duration::from_millis(at);
            (0..100).filter(|_| rate.try_acquire(now)).count()
        };
        assert_eq!(count(0), 10);
        assert_eq!(count(50), 0);
        assert_eq!(count(500), 5);
        assert_eq!(count(400), 0, "a clock that goes back gives nothing");
        assert_eq!(count(60_000), 10);
    }
}
