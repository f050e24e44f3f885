//! Another machine's device: a server in this process, reached over the loopback.

use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use latco_agent::{
    Agent, AgentConfig,
    device::{DeviceError, device, serve},
};
use latco_env::Image;
use latco_model::WorldModel;
use latco_plan::catalogue::planner;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn connected(port: u16) -> Device {
    let started = Instant::now();
    loop {
        match device(&format!("remote:ws://127.0.0.1:{port}")) {
            Ok(device) => return device,
            Err(error) if started.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The actions of a plan, and what their rollout returns.
fn plan(name: &str, device: &Device) -> (Vec<f32>, f32) {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/assets/checkpoints/reach.safetensors");
    let model = WorldModel::load(path.as_ref(), device).unwrap();
    let image = Image::load_png(format!("{root}/assets/images/reach.png").as_ref()).unwrap();
    let made = planner(name, Some(10)).unwrap();
    let mut agent = Agent::new(model, made, AgentConfig::default(), device).unwrap();
    agent.reset(3);
    let started = Instant::now();
    agent.act(&image).unwrap();
    println!("{name} on {device:?}: {:?}", started.elapsed());
    let plan = agent.plan().unwrap();
    let actions = plan.actions.to_data().try_to_vec().unwrap();
    (actions, plan.rollout.total())
}

#[test]
fn plans_on_a_remote_device_are_those_of_the_device_itself() {
    let port = free_port();
    thread::spawn(move || serve(&device("flex").unwrap(), port, None).unwrap());
    let remote = connected(port);
    for name in ["icem", "latco", "latco-first-order"] {
        let (here, returned_here) = plan(name, &device("flex").unwrap());
        let (there, returned_there) = plan(name, &remote);
        assert_eq!(here.len(), there.len());
        let apart = here.iter().zip(&there);
        let apart = apart.map(|(here, there)| (here - there).abs());
        let largest = apart.fold(0.0, f32::max);
        // Roundings differ, where a device has whole passes through the model, and hundreds of steps of Adam add
        // them up: such plans are others, as good.
        let tolerance = if name == "latco-first-order" {
            0.2
        } else {
            1e-3
        };
        assert!(largest < tolerance, "{name}: actions up to {largest} apart");
        let between = (returned_here - returned_there).abs();
        assert!(
            between < 0.01 * returned_here.abs(),
            "{name}: {returned_here}, {returned_there}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_its_address() {
    let url = format!("ws://127.0.0.1:{}", free_port());
    let error = device(&format!("remote:{url}")).unwrap_err();
    assert!(matches!(&error, DeviceError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&url));
}
