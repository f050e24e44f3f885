//! Things moved by hand while a task runs.

use latco_env::{EnvError, EnvOptions, Environment, Scene, catalogue, make, scene};

fn all() -> Vec<Box<dyn Scene>> {
    let options = EnvOptions::default();
    let scenes = catalogue()
        .iter()
        .map(|entry| scene(entry.name, &options).unwrap());
    scenes.collect()
}

fn distance([ax, ay]: [f32; 2], [bx, by]: [f32; 2]) -> f32 {
    (ax - bx).hypot(ay - by)
}

fn position(scene: &dyn Scene, name: &str) -> [f32; 2] {
    let things = scene.things();
    things
        .iter()
        .find(|thing| thing.name == name)
        .unwrap()
        .position
}

/// A scene is the task of its name: the same images and rewards, without an end.
#[test]
fn a_scene_is_its_task_without_a_time_limit() {
    for mut scene in all() {
        let mut task = make(scene.name(), &EnvOptions::default()).unwrap();
        assert_eq!(scene.reset(3).unwrap(), task.reset(3).unwrap());
        for step in 0..task.time_limit() {
            let action = [(step as f32).sin(), (step as f32).cos()];
            let (mut found, expected) = (scene.step(&action).unwrap(), task.step(&action).unwrap());
            found.truncated = expected.truncated;
            assert_eq!(found, expected, "{}", scene.name());
        }
        let step = scene.step(&[0.0, 0.0]).unwrap();
        assert!(!step.is_last());
        assert_eq!(scene.picture(64).unwrap(), step.image);
    }
}

/// Where a thing is said to be, the picture shows the effector's colour.
#[test]
fn the_effector_is_where_the_picture_shows_it() {
    for mut scene in all() {
        scene.reset(5).unwrap();
        let Some(effector) = scene.things().into_iter().next() else {
            continue;
        };
        let image = scene.picture(512).unwrap();
        let reddish = |pixel: &[u8]| {
            let near =
                |channel: usize| pixel[channel].abs_diff(scene.effector_colour()[channel]) < 8;
            (0..3).all(near)
        };
        let mut mean = [0.0_f32; 2];
        let mut count = 0.0;
        for (index, pixel) in image.pixels().chunks_exact(3).enumerate() {
            if reddish(pixel) {
                mean[0] += (index % 512) as f32 / 512.0;
                mean[1] += (index / 512) as f32 / 512.0;
                count += 1.0;
            }
        }
        let mean = mean.map(|sum| sum / count);
        assert!(
            distance(mean, effector.position) < 0.05,
            "{}: {mean:?}",
            scene.name()
        );
    }
}

/// From anywhere to anywhere, things stay on the table and the task goes on.
#[test]
fn what_is_moved_stays_in_the_picture() {
    for mut scene in all() {
        scene.reset(1).unwrap();
        for (index, corner) in [[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [-3.0, 0.9], [0.51, 7.0]]
            .iter()
            .enumerate()
        {
            for thing in scene.things() {
                scene.move_thing(thing.name, *corner).unwrap();
                for _ in 0..4 {
                    let step = scene.step(&[(index as f32).sin(), 1.0]).unwrap();
                    assert!(!step.is_last());
                }
            }
            for thing in scene.things() {
                let inside = thing
                    .position
                    .iter()
                    .all(|share| (0.0..=1.0).contains(share));
                assert!(
                    inside,
                    "{} of {}: {:?}",
                    thing.name,
                    scene.name(),
                    thing.position
                );
            }
        }
    }
}

#[test]
fn a_goal_and_an_effector_go_where_they_are_put() {
    for name in ["reach", "two-room"] {
        let mut scene = scene(name, &EnvOptions::default()).unwrap();
        scene.reset(2).unwrap();
        for thing in ["effector", "goal"] {
            scene.move_thing(thing, [0.25, 0.7]).unwrap();
            assert!(
                distance(position(scene.as_ref(), thing), [0.25, 0.7]) < 1e-3,
                "{thing} of {name}"
            );
        }
        assert!(scene.is_solved(), "{name}");
    }
}

/// The wall of `two-room` follows its door, and nobody is put into it.
#[test]
fn a_door_is_moved_and_the_wall_with_it() {
    let mut scene = scene("two-room", &EnvOptions::default()).unwrap();
    scene.reset(2).unwrap();
    scene.move_thing("door", [0.9, 0.3]).unwrap();
    assert!(distance(position(scene.as_ref(), "door"), [0.5, 0.3]) < 1e-3);
    scene.move_thing("effector", [0.52, 0.7]).unwrap();
    assert!(position(scene.as_ref(), "effector")[0] > 0.55);
    scene.move_thing("effector", [0.52, 0.3]).unwrap();
    assert!(distance(position(scene.as_ref(), "effector"), [0.52, 0.3]) < 1e-3);
}

#[test]
fn what_cannot_be_moved_is_named() {
    let mut scene = scene("reach", &EnvOptions::default()).unwrap();
    let unknown = scene.move_thing("moon", [0.5, 0.5]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "`reach` has nothing called `moon` to move, expected one of: effector, goal"
    );
    let nowhere = scene.move_thing("goal", [f32::NAN, 0.5]).unwrap_err();
    assert!(matches!(
        nowhere,
        EnvError::ActionNotFinite { index: 0, .. }
    ));
    assert!(scene.picture(3).is_err());
}
