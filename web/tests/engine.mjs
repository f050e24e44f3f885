// The engine of web/dist in node: the same module as in a browser, without the page.
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';

const root = new URL('../../', import.meta.url);
const engine = await import(new URL('web/dist/engine/latco_web.js', root));
const { memory } = await engine.default({
  module_or_path: gunzipSync(await readFile(new URL('web/dist/engine/latco_web_bg.wasm.gz', root))),
});

export const { Playground, Agent, planners, tasks } = engine;
export const bytesOfMemory = () => memory.buffer.byteLength;
export const checkpoint = path => readFile(new URL(path, root));
export const plans = JSON.parse(await readFile(new URL('web/tests/plans.json', root), 'utf8').catch(() => '[]'));
