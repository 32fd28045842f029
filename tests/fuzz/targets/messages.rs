//! Reports, usage and receipts: whoever has no secret is not believed, and a message that is
//! believed is what was signed.
#![no_main]

use keystile_core::report;
use keystile_core::report::usage;
use keystile_fuzz::{bounded, signers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    bounded(|| {
        let keys = signers();
        let Some(sealed) = usage::sign_batch(bytes, &keys) else {
            return;
        };
        assert!(usage::open_batch(bytes, "k", "", &keys).is_err());
        assert!(usage::open_batch(bytes, "other", &sealed.tag, &keys).is_err());
        // A batch is no report, no receipt and no refusal, whoever signed it.
        assert!(report::open(bytes, "k", &sealed.tag, &keys).is_err());
        assert!(usage::open_receipt(bytes, "k", &sealed.tag, &keys).is_err());
        assert!(usage::open_refusal(bytes, "k", &sealed.tag, &keys).is_err());
        let opened = usage::open_batch(bytes, "k", &sealed.tag, &keys);
        let refused = usage::final_refusal(bytes, "k", &sealed.tag, &keys);
        assert!(opened.is_err() || refused.is_none(), "counted and refused for good");
        let Ok(batch) = opened else {
            return;
        };
        for row in &batch.rows {
            let within = |index: Option<u32>, most: usize| index.is_none_or(|i| (i as usize) < most);
            assert!(within(row.key, batch.keys.len()));
            assert!(within(row.route, batch.routes.len()));
            assert!(within(Some(row.outcome), batch.outcomes.len()));
        }
        let again = usage::seal_batch(&batch, &keys).expect("there is a key");
        let read = usage::open_batch(&again.body, "k", &again.tag, &keys);
        assert_eq!(read.as_ref(), Ok(&batch), "written and read again it is the same");
    });
});
