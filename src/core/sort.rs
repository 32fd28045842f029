//! Sorting that takes little code.
//!
//! Envoy compiles all of the filter before its first request. Each type that the standard library
//! sorts is another 5 to 8 KB of it, for speed that nothing here needs.

/// Sorts a few elements; equal ones keep their order.
pub fn few<T>(all: &mut [T], mut comes_before: impl FnMut(&T, &T) -> bool) {
    for end in 1..all.len() {
        let mut at = end;
        while let [.., left, right] = all.get_mut(..=at).unwrap_or_default()
            && comes_before(right, left)
        {
            core::mem::swap(left, right);
            at -= 1;
        }
    }
}

/// Sorts any number of elements (heapsort); equal ones in any order.
pub fn many<T>(all: &mut [T], mut comes_before: impl FnMut(&T, &T) -> bool) {
    for root in (0..all.len() / 2).rev() {
        sift(all, root, &mut comes_before);
    }
    for end in (1..all.len()).rev() {
        all.swap(0, end);
        let heap = all.get_mut(..end).unwrap_or_default();
        sift(heap, 0, &mut comes_before);
    }
}

/// Lets an element sink until none below it comes after it.
fn sift<T>(heap: &mut [T], mut at: usize, comes_before: &mut impl FnMut(&T, &T) -> bool) {
    let mut is_before = |heap: &[T], a: usize, b: usize| {
        let both = heap.get(a).zip(heap.get(b));
        both.is_some_and(|(a, b)| comes_before(a, b))
    };
    loop {
        let (left, right) = (2 * at + 1, 2 * at + 2);
        let below = match is_before(heap, left, right) {
            true => right,
            false => left,
        };
        if !is_before(heap, at, below) {
            return;
        }
        heap.swap(at, below);
        at = below;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::seeded())]
        #[test]
        fn both_sort_as_the_standard_library_does(all: Vec<(u8, u8)>) {
            let mut want = all.clone();
            want.sort_by_key(|(key, _)| *key);
            let mut found = all.clone();
            few(&mut found, |a, b| a.0 < b.0);
            prop_assert_eq!(&found, &want, "equal ones keep their order");

            want.sort_unstable();
            let mut found = all;
            many(&mut found, |a, b| a < b);
            prop_assert_eq!(found, want);
        }
    }
}
