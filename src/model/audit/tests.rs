use super::*;
use crate::caller::Caller;
use crate::reach::Reach;
use proptest::prelude::*;

fn record(action: &str, subject: &str) -> Record {
    let record = Record {
        action: action.to_owned(),
        subject: subject.to_owned(),
        ..Record::new(&World {
            now: Moment::from_ms(1_000),
            actor: Actor::default(),
            caller: Caller::Local,
            entropy: |_| Ok(()),
            reach: Reach::default(),
        })
    };
    record.after(Head {
        seq: 0,
        link: Link::GENESIS,
    })
}

#[test]
fn a_head_reads_back_what_it_prints() {
    let head = Head {
        seq: 7,
        link: record("a", "b").expected(),
    };
    assert_eq!(head.to_string().parse(), Ok(head));
    assert!("7:zz".parse::<Head>().is_err());
    assert!(format!("7:{}", "é".repeat(32)).parse::<Head>().is_err());
}

proptest! {
    #[test]
    fn moving_text_between_fields_changes_the_hash(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}") {
        prop_assume!(!b.is_empty());
        let one = record(&format!("{a}{b}"), &c);
        let two = record(&a, &format!("{b}{c}"));
        prop_assert_ne!(one.expected(), two.expected());
    }
}
