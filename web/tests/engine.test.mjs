// `node --test web/tests/engine.test.mjs`: the built engine without a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent, Playground, bytesOfMemory, checkpoint, planners, plans, tasks } from './engine.mjs';

const reach = await checkpoint('web/models/reach.safetensors');
const quick = { planner: 'latco', settings: { samples: 128 } };

// An engine older than the libraries makes the plans of its own time.
const old = process.env.LATCO_OLD_ENGINE ? 'the engine is older than the libraries' : false;

test('the same seed gives the plan of the native build', { skip: old }, async () => {
  assert.ok(plans.length > 0);
  for (const { task, checkpoint: path, setup, seed, rollout, actions } of plans) {
    const playground = new Playground(task, await checkpoint(path), setup);
    playground.reset(seed);
    const plan = playground.think(false);
    const found = playground.actions();
    const largest = Math.max(...actions.map((action, index) => Math.abs(action - found[index])));
    assert.ok(largest <= 1e-3, `${task} by ${JSON.stringify(setup)}: ${largest}`);
    assert.ok(Math.abs(plan.rollout - rollout) <= 1e-3 * Math.max(1, rollout));
    playground.free();
  }
});

test('reach is solved', () => {
  const playground = new Playground('reach', reach, quick);
  playground.reset(3);
  let solved = false;
  for (let step = 0; step < 30 && !solved; step += 1) ({ solved } = playground.execute());
  assert.ok(solved);
});

test('what is refused is an exception with a sentence', () => {
  const cut = reach.subarray(0, 1000);
  assert.throws(() => new Playground('reach', cut), /^Error: the checkpoint of reach is not a safetensors file/);
  assert.throws(() => Agent.load(cut), /the checkpoint is not a safetensors file/);
  assert.throws(() => new Playground('raech', reach), /did you mean `reach`\?/);
  assert.throws(() => new Playground('reach', reach, { planner: 'magic' }), /unknown planner `magic`/);
  assert.throws(() => new Playground('reach', reach, { horizon: 0 }), /horizon/);
  const playground = new Playground('reach', reach, quick);
  assert.throws(() => playground.moveThing('moon', 0.5, 0.5), /nothing called `moon`/);
  assert.throws(() => playground.moveThing('goal', NaN, 0.5), /finite/);
  assert.throws(() => playground.imagine(1), /no plan yet/);
  const agent = Agent.load(reach);
  assert.throws(() => agent.act(new Uint8Array(12), 2, 2), /2×2 pixels, the model expects 64×64/);
  assert.throws(() => agent.act(new Uint8Array(5), 2, 2), /cannot be made from 5 bytes/);
});

test('an agent acts on the pixels of a canvas', () => {
  const playground = new Playground('reach', reach, quick);
  playground.reset(3);
  const agent = Agent.load(reach);
  agent.configure(quick);
  assert.equal(agent.plan(), null);
  const action = agent.act(playground.seen(), 64, 64);
  assert.equal(action.length, 2);
  assert.ok(action.every(component => Math.abs(component) <= 1));
  assert.ok(agent.plan().rollout > 1);
});

test('tasks and planners are listed', () => {
  assert.ok(tasks().some(task => task.name === 'reach' && task.horizon === 30));
  assert.ok(planners().some(planner => planner.name === 'latco-paper' && planner.multiplier === 1));
});

test('memory does not grow from replan to replan', () => {
  const playground = new Playground('reach', reach, quick);
  const replan = count => {
    for (let index = 0; index < count; index += 1) {
      if (index % 50 === 0) playground.reset(index);
      playground.think(index % 40 === 0);
      playground.imagine(1);
      playground.execute();
    }
    return bytesOfMemory();
  };
  const before = replan(150);
  assert.equal(replan(Number(process.env.LATCO_REPLANS ?? 500)), before);
});
