// `node web/tests/speed.mjs`: what the engine takes, as processor time, which other work on the machine does not add to.
import { Playground, bytesOfMemory, checkpoint } from './engine.mjs';

const cases = [
  ['reach', 'web/models/reach.safetensors', 'latco', { planner: 'latco', settings: { samples: 512 } }],
  ['reach', 'web/models/reach.safetensors', 'latco, relaxed start', { planner: 'latco', settings: { noise_scale: 0, samples: 0, plans: 1 } }],
  ['reach', 'web/models/reach.safetensors', 'icem', { planner: 'icem' }],
  ['two-room', 'assets/checkpoints/two-room.safetensors', 'latco', { planner: 'latco', settings: { samples: 512 } }],
];

/** Milliseconds of processor time that `count` calls take, each. */
function each(count, call) {
  const began = process.cpuUsage();
  for (let index = 0; index < count; index += 1) call(index);
  const { user, system } = process.cpuUsage(began);
  return Math.round((user + system) / 100 / count) / 10;
}

for (const [task, path, name, setup] of cases) {
  const playground = new Playground(task, await checkpoint(path), setup);
  const first = each(1, () => { playground.reset(1); playground.think(false); });
  const search = each(3, seed => { playground.reset(seed); playground.think(false); });
  const replan = each(60, index => { if (index % 20 === 0) playground.moveThing('goal', 0.3, 0.3); playground.execute(); playground.think(false); });
  const decode = each(10, () => playground.imagine(3));
  const picture = each(10, () => playground.picture(480));
  console.log(JSON.stringify({ task, planner: name, first, search, replan, decode, picture, megabytes: bytesOfMemory() / 1e6 }));
  playground.free();
}
