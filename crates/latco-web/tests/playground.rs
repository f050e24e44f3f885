//! The loop that the page runs, on the host.

use std::{fs, path::PathBuf};

use latco_web::{Playground, Setup};

fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn reach() -> Vec<u8> {
    fs::read(checkout("web/models/reach.safetensors")).unwrap()
}

fn setup(text: &str) -> Setup {
    serde_json::from_str(text).unwrap()
}

fn latco() -> Setup {
    setup(r#"{"planner": "latco", "settings": {"samples": 128}}"#)
}

fn steps_until_solved(playground: &mut Playground, most: usize) -> Option<usize> {
    (0..most).find(|_| playground.execute().unwrap().solved)
}

#[test]
fn reach_is_solved_and_solved_again_where_the_goal_is_moved() {
    let mut playground = Playground::new("reach", reach(), latco()).unwrap();
    playground.reset(3).unwrap();
    assert!(steps_until_solved(&mut playground, 30).is_some());
    let goal = playground.things()[1].position;
    playground
        .move_thing("goal", goal.map(|share| 1.0 - share))
        .unwrap();
    playground.search_anew();
    assert!(steps_until_solved(&mut playground, 40).is_some());
}

/// A moved goal asks for a plan, whatever is left of the present one.
#[test]
fn a_plan_is_made_when_it_is_due_or_something_was_moved() {
    let lazy = setup(r#"{"planner": "latco", "replanEvery": 10, "settings": {"samples": 128}}"#);
    let mut playground = Playground::new("reach", reach(), lazy).unwrap();
    let quiet = &mut |_: &latco_plan::Iteration| ();
    let plan = playground.think(false, quiet).unwrap().expect("the first");
    assert!(plan.iterations > 0 && plan.horizon == 30);
    assert!(
        playground.think(false, quiet).unwrap().is_none(),
        "the action is chosen already"
    );
    playground.execute().unwrap();
    assert!(
        playground.think(false, quiet).unwrap().is_none(),
        "the plan has nine steps to go"
    );
    playground.move_thing("goal", [0.3, 0.3]).unwrap();
    assert!(
        playground.think(false, quiet).unwrap().is_some(),
        "the goal is elsewhere"
    );
}

/// The effector that a plan imagines starts where the true one is, and ends at the goal.
#[test]
fn what_is_imagined_can_be_found_in_the_scene() {
    let mut playground = Playground::new("reach", reach(), latco()).unwrap();
    playground.reset(3).unwrap();
    playground.think(false, &mut |_| ()).unwrap();
    let things = playground.things();
    let imagined = playground.imagine(1).unwrap();
    assert_eq!(imagined.len(), 30);
    let apart = |place: latco_web::Place, [x, y]: [f32; 2]| (place.x - x).hypot(place.y - y);
    let (first, last) = (imagined[0].place, imagined[29].place);
    assert!(apart(first, things[0].position) < 0.1, "{first:?}");
    assert!(apart(last, things[1].position) < 0.17, "{last:?}");
    assert!(imagined.iter().all(|moment| moment.place.confidence > 0.3));
    let every_seventh = playground.imagine(7).unwrap();
    let steps: Vec<_> = every_seventh.iter().map(|moment| moment.step).collect();
    assert_eq!(steps, [0, 7, 14, 21, 28, 29]);
}

/// Relaxed nodes begin off the dynamics and end on them.
#[test]
fn recorded_iterations_of_collocation_come_back_to_the_dynamics() {
    let paper = setup(r#"{"planner": "latco-paper", "horizon": 12, "settings": {"polish": 0}}"#);
    let mut playground = Playground::new("reach", reach(), paper).unwrap();
    playground.reset(3).unwrap();
    playground.think(true, &mut |_| ()).unwrap();
    let count = playground.recorded();
    assert!(count > 3);
    let picture = |index| playground.recorded_iteration(index).unwrap();
    let (first, last) = (picture(0), picture(count - 1));
    assert!(first.relaxed && first.imagined.len() == 12 && first.rollout.len() == 12);
    let violations = (0..count).map(|index| picture(index).iteration.violation_max);
    let furthest = violations.fold(0.0, f32::max);
    let left = last.iteration.violation_max;
    assert!(left < 0.1 * furthest, "{left} of {furthest}");
    assert!(last.iteration.multiplier_max > first.iteration.multiplier_max);
    assert!(playground.recorded_iteration(count).is_err());
    playground.search_anew();
    playground.think(false, &mut |_| ()).unwrap();
    assert_eq!(playground.recorded(), 0);
}

/// What has been observed or moved since is no part of a plan that was made before.
#[test]
fn a_recorded_iteration_stays_as_it_was() {
    let lazy = setup(r#"{"planner": "latco", "replanEvery": 10, "settings": {"samples": 128}}"#);
    let mut playground = Playground::new("reach", reach(), lazy).unwrap();
    playground.reset(3).unwrap();
    playground.think(true, &mut |_| ()).unwrap();
    let recorded = |playground: &Playground| {
        let picture = playground.recorded_iteration(0).unwrap();
        (picture.rollout_return, picture.rollout)
    };
    let made = recorded(&playground);
    playground.execute().unwrap();
    assert!(playground.think(true, &mut |_| ()).unwrap().is_none());
    assert_eq!(recorded(&playground), made);
    playground.move_thing("goal", [0.3, 0.3]).unwrap();
    assert_eq!(recorded(&playground), made);
}

#[test]
fn refusals_are_sentences_and_change_nothing() {
    let message =
        |result: Result<Playground, latco_web::WebError>| result.err().unwrap().to_string();
    let mut damaged = reach();
    damaged.truncate(1000);
    let found = message(Playground::new("reach", damaged, latco()));
    assert!(
        found.starts_with("the checkpoint of reach is not a safetensors file"),
        "{found}"
    );
    assert!(message(Playground::new("raech", reach(), latco())).contains("did you mean `reach`?"));
    let mut playground = Playground::new("reach", reach(), latco()).unwrap();
    let refused = playground
        .configure(setup(r#"{"horizon": 0}"#))
        .unwrap_err();
    assert!(refused.to_string().contains("horizon"));
    assert!(playground.move_thing("moon", [0.5, 0.5]).is_err());
    assert!(playground.imagine(1).is_err(), "there is no plan yet");
    assert!(playground.execute().is_ok());
}
