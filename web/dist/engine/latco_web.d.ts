/* tslint:disable */
/* eslint-disable */

/**
 * An agent for other people's pages: from pictures to actions.
 */
export class Agent {
    private constructor();
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The action for a picture of RGB or RGBA bytes, in the environment's units.
     */
    act(pixels: Uint8Array | number[], width: number, height: number): Float32Array;
    /**
     * Plans otherwise from the next step on, as if the episode began now.
     */
    configure(setup: any): void;
    /**
     * From the bytes of a checkpoint.
     */
    static load(checkpoint: Uint8Array | number[]): Agent;
    /**
     * The figures of the present plan, null before the first.
     */
    plan(): any;
    /**
     * Forgets the episode; the seed determines the plans of the next.
     */
    reset(seed: number): void;
}

/**
 * A task, a model and a planner in a closed loop.
 */
export class Playground {
    free(): void;
    [Symbol.dispose](): void;
    /**
     * The plan's actions, row by row.
     */
    actions(): Float32Array;
    /**
     * What the belief shows, RGBA.
     */
    believed(): Uint8ClampedArray;
    /**
     * Plans otherwise from the next step on.
     */
    configure(setup: any): void;
    /**
     * Executes the chosen action: `{step, reward, solved, action}`.
     */
    execute(): any;
    /**
     * Steps executed of the plan.
     */
    executed(): number;
    /**
     * What the plan imagines at every `every`-th step and the last: `{steps, path, frames, size}`, the
     * path's x, y and confidence of each step, the frames RGBA one after another.
     */
    imagine(every: number): any;
    /**
     * Moves a thing to shares of the picture.
     */
    moveThing(name: string, x: number, y: number): void;
    /**
     * `checkpoint` is a safetensors file's bytes, `setup` `{planner, horizon, multiplier, epsilon,
     * replanEvery, settings}`, each with a default.
     */
    constructor(task: string, checkpoint: Uint8Array | number[], setup: any);
    /**
     * The scene, RGBA, `size` × `size`.
     */
    picture(size: number): Uint8ClampedArray;
    /**
     * `{index, promised, rollout, violation, multiplier, relaxed, rolledOut}` of a recorded iteration, with
     * what its latents imagine as `imagine` has it; `rolledOut` is the path that its actions lead along.
     */
    recordedIteration(index: number): any;
    /**
     * Iterations that were recorded.
     */
    recorded(): number;
    /**
     * Begins the episode of this seed.
     */
    reset(seed: number): void;
    /**
     * Forgets belief and plan.
     */
    searchAnew(): void;
    /**
     * What the agent sees, RGBA.
     */
    seen(): Uint8ClampedArray;
    /**
     * `[{name, position: [x, y], half: [x, y]}]` in shares of the picture.
     */
    things(): any;
    /**
     * Observes and chooses the next action; the figures of the plan that was made, null where none was due.
     * `on_iteration(index, promised, violation, multiplier)` is called after every iteration, and `record`
     * keeps what each arrived at.
     */
    think(record: boolean, on_iteration?: Function | null): any;
}

/**
 * The planners: `[{name, about, multiplier, epsilon}]`, the last two null where the method has none.
 */
export function planners(): any;

/**
 * A panic is an error of this library. It reaches the page as an exception that says where it happened.
 */
export function start(): void;

/**
 * The tasks: `[{name, about, horizon, replanEvery}]`.
 */
export function tasks(): any;

export type InitInput = RequestInfo | URL | Response | BufferSource | WebAssembly.Module;

export interface InitOutput {
    readonly memory: WebAssembly.Memory;
    readonly __wbg_agent_free: (a: number, b: number) => void;
    readonly __wbg_playground_free: (a: number, b: number) => void;
    readonly agent_act: (a: number, b: number, c: number, d: number, e: number, f: number) => void;
    readonly agent_configure: (a: number, b: number, c: any) => void;
    readonly agent_load: (a: number, b: number, c: number) => void;
    readonly agent_plan: (a: number, b: number) => void;
    readonly agent_reset: (a: number, b: number) => void;
    readonly planners: (a: number) => void;
    readonly playground_actions: (a: number, b: number) => void;
    readonly playground_believed: (a: number, b: number) => void;
    readonly playground_configure: (a: number, b: number, c: any) => void;
    readonly playground_execute: (a: number, b: number) => void;
    readonly playground_executed: (a: number) => number;
    readonly playground_imagine: (a: number, b: number, c: number) => void;
    readonly playground_moveThing: (a: number, b: number, c: number, d: number, e: number, f: number) => void;
    readonly playground_new: (a: number, b: number, c: number, d: number, e: number, f: any) => void;
    readonly playground_picture: (a: number, b: number, c: number) => void;
    readonly playground_recorded: (a: number) => number;
    readonly playground_recordedIteration: (a: number, b: number, c: number) => void;
    readonly playground_reset: (a: number, b: number, c: number) => void;
    readonly playground_searchAnew: (a: number) => void;
    readonly playground_seen: (a: number) => any;
    readonly playground_things: (a: number, b: number) => void;
    readonly playground_think: (a: number, b: number, c: number, d: number) => void;
    readonly start: () => void;
    readonly tasks: (a: number) => void;
    readonly __wbindgen_export: (a: number, b: number) => number;
    readonly __wbindgen_export2: (a: number, b: number, c: number, d: number) => number;
    readonly __wbindgen_export3: (a: number, b: number, c: number) => void;
    readonly __wbindgen_export4: (a: number) => void;
    readonly __wbindgen_export5: () => number;
    readonly __wbindgen_externrefs: WebAssembly.Table;
    readonly __wbindgen_add_to_stack_pointer: (a: number) => number;
    readonly __wbindgen_export6: (a: number) => void;
    readonly __wbindgen_start: () => void;
}

export type SyncInitInput = BufferSource | WebAssembly.Module;

/**
 * Instantiates the given `module`, which can either be bytes or
 * a precompiled `WebAssembly.Module`.
 *
 * @param {{ module: SyncInitInput }} module - Passing `SyncInitInput` directly is deprecated.
 *
 * @returns {InitOutput}
 */
export function initSync(module: { module: SyncInitInput } | SyncInitInput): InitOutput;

/**
 * If `module_or_path` is {RequestInfo} or {URL}, makes a request and
 * for everything else, calls `WebAssembly.instantiate` directly.
 *
 * @param {{ module_or_path: InitInput | Promise<InitInput> }} module_or_path - Passing `InitInput` directly is deprecated.
 *
 * @returns {Promise<InitOutput>}
 */
export default function __wbg_init (module_or_path: { module_or_path: InitInput | Promise<InitInput> } | InitInput | Promise<InitInput>): Promise<InitOutput>;
