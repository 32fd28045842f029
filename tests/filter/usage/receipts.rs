//! Receipts, lost, refused and forged.

use super::*;

#[test]
fn while_nobody_answers_nothing_is_lost_and_the_log_says_it_twice() {
    let (store, key) = store();
    for answer in [
        None,
        Some(status(503)),
        Some(status(403)),
        Some(status(200)),
    ] {
        let mut edge = Edge::start(&store);
        let mut control = Control::default();
        let mut asked = 0;
        let mut known = 0;
        for _ in 0..300 {
            edge.code(&key);
            asked += 1;
            edge.tick();
            let tokens: Vec<u32> = sent(&edge.process).iter().map(|(t, _)| *t).collect();
            if let (Some(token), Some(_)) = (tokens.last(), tokens.len().checked_sub(known + 1)) {
                known = tokens.len();
                edge.vm
                    .answer_call(edge.root, *token, answer.clone())
                    .unwrap();
            }
            edge.wait(1);
        }
        assert!(
            (10..60).contains(&known),
            "{known} attempts in five minutes"
        );
        let waiting = edge
            .gauge("vm=.=0;.;keystile_usage_waiting_batches")
            .unwrap();
        assert!((4..8).contains(&waiting), "{waiting}");
        assert_eq!(logged(&edge, "usage for cluster `control`"), 1);
        control.settle(&mut edge);
        assert_eq!((control.total(), edge.counter(DROPPED)), (asked, 0));
        assert_eq!(logged(&edge, "usage reaches cluster `control` again"), 1);
    }
}

#[test]
fn what_the_control_plane_refuses_for_good_is_dropped_and_said_in_metric_log_and_the_next_batch() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    edge.code(&key);
    edge.code(&key);
    edge.tick();
    let (token, batch) = sent(&edge.process).pop().unwrap();
    let answer = refusal(&batch.name());
    edge.vm.answer_call(edge.root, token, Some(answer)).unwrap();
    assert_eq!(edge.counter(DROPPED), 2);
    assert_eq!(
        logged(&edge, "is permanently refused by the control plane"),
        1
    );
    edge.code(&key);
    let mut control = Control::default();
    control.settle(&mut edge);
    assert_eq!(control.total(), 1);
    assert_eq!(control.batches.values().next().unwrap().dropped, 2);
}

#[test]
fn nobody_on_the_way_makes_a_vm_forget_what_it_counted() {
    let (store, key) = store();
    let of_another = |batch: &Batch, change: fn(&mut BatchRefusal)| {
        let mut name = batch.name();
        change(&mut name);
        refusal(&name)
    };
    // Of another batch, signed as something else, or not at all: none of them is a refusal.
    type Answer = Box<dyn Fn(&Batch) -> (Headers, Vec<u8>)>;
    let answers: Vec<Answer> = vec![
        Box::new(|_| status(400)),
        Box::new(|_| status(413)),
        Box::new(|_| status(422)),
        Box::new(|_| status(404)),
        Box::new(move |b| of_another(b, |r| r.seq += 1)),
        Box::new(move |b| of_another(b, |r| r.epoch ^= 1)),
        Box::new(move |b| of_another(b, |r| r.vm += 1)),
        Box::new(move |b| of_another(b, |r| r.claimed ^= 1)),
        Box::new(move |b| of_another(b, |r| r.node.push('x'))),
        Box::new(|b| {
            let (_, body) = refusal(&b.name());
            let sealed = seal_batch(b, &accepted()).expect("there is a key");
            let headers = [
                (":status", "422"),
                ("x-keystile-kid", &*sealed.kid),
                ("x-keystile-signature", &*sealed.tag),
            ];
            (Headers::new(&headers), body)
        }),
    ];
    for (n, answer) in answers.iter().enumerate() {
        let mut edge = Edge::start(&store);
        edge.code(&key);
        edge.code(&key);
        let mut attempts = 0;
        for _ in 0..60 {
            edge.tick();
            let all = sent(&edge.process);
            if all.len() > attempts {
                let (token, batch) = all.last().unwrap();
                attempts = all.len();
                let answer = answer(batch);
                edge.vm
                    .answer_call(edge.root, *token, Some(answer))
                    .unwrap();
            }
            edge.wait(1);
        }
        assert!(
            (4..15).contains(&attempts),
            "{n}: {attempts} attempts in a minute"
        );
        assert_eq!(edge.counter(DROPPED), 0, "{n}");
        let mut control = Control::default();
        control.settle(&mut edge);
        assert_eq!((control.total(), edge.counter(DROPPED)), (2, 0), "{n}");
    }
}

#[test]
fn a_receipt_that_is_forged_cut_or_of_another_batch_confirms_nothing() {
    let (store, key) = store();
    let mut edge = Edge::start(&store);
    edge.code(&key);
    edge.tick();
    let (token, batch) = sent(&edge.process).pop().unwrap();
    let good = Receipt {
        node: batch.node.clone(),
        epoch: batch.epoch,
        vm: batch.vm,
        claimed: batch.claimed,
        seq: batch.seq,
        quotas: Vec::new(),
    };
    let changed = |f: fn(&mut Receipt)| {
        let mut other = good.clone();
        f(&mut other);
        receipt(&other)
    };
    let (headers, body) = receipt(&good);
    let unsigned = Headers::new(&[(":status", "200")]);
    let mut bent = body.clone();
    bent[5] ^= 1;
    let mut answers = vec![
        changed(|r| r.seq += 1),
        changed(|r| r.epoch += 1),
        changed(|r| r.vm += 1),
        changed(|r| r.claimed += 1),
        changed(|r| r.node.push('x')),
        (unsigned, body.clone()),
        (headers.clone(), bent),
        (headers.clone(), body[1..].to_vec()),
        (headers.clone(), Vec::new()),
        (headers.clone(), vec![b' '; 2 << 20]),
        (Headers::default(), body.clone()),
        (Headers::new(&[(":status", "\u{fc}")]), body.clone()),
        (headers, body),
    ];
    let last = answers.pop().unwrap();
    let mut token = token;
    for answer in answers {
        edge.vm.answer_call(edge.root, token, Some(answer)).unwrap();
        let before = sent(&edge.process).len();
        while sent(&edge.process).len() == before {
            edge.wait(1);
            edge.tick();
        }
        let (next, again) = sent(&edge.process).pop().unwrap();
        assert_eq!(again, batch);
        token = next;
    }
    edge.vm.answer_call(edge.root, token, Some(last)).unwrap();
    let before = sent(&edge.process).len();
    for _ in 0..100 {
        edge.wait(1);
        edge.tick();
    }
    assert_eq!(sent(&edge.process).len(), before);
}
