"""Serves one Gymnasium environment to latco over standard input and output.

The protocol is described in latco's docs/environments.md. Runs with Python 3.9 or newer and
Gymnasium 1; numpy comes with the latter.
"""

import ctypes
import ctypes.util
import difflib
import faulthandler
import importlib
import json
import math
import os
import random
import re
import select
import signal
import struct
import sys
import threading
import time
import traceback

PROTOCOL = 1


class Refusal(Exception):
    """What the environment or its arguments lack: `kind` is one of the protocol's."""

    def __init__(self, kind, message, **more):
        super().__init__(message)
        self.answer = {"kind": kind, "message": message, **more}


class Channel:
    """The frames of the protocol on descriptors that nobody else writes to."""

    def __init__(self):
        self.requests = os.fdopen(os.dup(0), "rb")
        self.answers = os.fdopen(os.dup(1), "wb")
        # Prints of the environment go to standard error, and it reads nothing.
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def receive(self):
        prefix = self.requests.read(8)
        if len(prefix) < 8:
            return None, b""
        header, payload = struct.unpack("<II", prefix)
        return json.loads(self.requests.read(header)), self.requests.read(payload)

    def send(self, header, payload=b""):
        header = json.dumps(header).encode()
        self.answers.write(struct.pack("<II", len(header), len(payload)) + header)
        self.answers.write(payload)
        self.answers.flush()

    def wait(self, seconds):
        """Whether a request comes within `seconds`."""
        if sys.platform == "win32":  # where pipes cannot be waited for
            return False
        return bool(select.select([self.requests], [], [], seconds)[0])


class Watchdog:
    """Ends this process where nobody is left to end it."""

    def __init__(self):
        self.parent = os.getppid()
        self.limit = self.renewed = None
        if hasattr(signal, "SIGUSR1"):
            # Asked by latco, before it kills a process that hangs, where that is.
            faulthandler.register(signal.SIGUSR1, all_threads=False)
        faulthandler.enable(all_threads=False)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while os.getppid() == self.parent:
            time.sleep(0.5)
        os._exit(1)

    def busy(self):
        """Ends a call that lasts twice its deadline, even one that holds the interpreter's lock."""
        now = time.monotonic()
        if self.limit and (self.renewed is None or now > self.renewed + self.limit / 4):
            faulthandler.dump_traceback_later(2 * self.limit, exit=True)
            self.renewed = now

    def patience(self):
        """Seconds that no request comes before this process is idle: less than `busy` leaves."""
        return min(5.0, self.limit / 2) if self.limit else 5.0

    def idle(self):
        faulthandler.cancel_dump_traceback_later()
        self.renewed = None


def egl_works():
    """Whether EGL opens a display on any of its devices, which MuJoCo finds out too late."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
        egl.eglGetProcAddress.restype = ctypes.c_void_p
        query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
            egl.eglGetProcAddress(b"eglQueryDevicesEXT")
        )
        display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(
            egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
        )
        egl.eglInitialize.argtypes = [ctypes.c_void_p] * 3
    except (OSError, AttributeError, TypeError):
        return False
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int(0)
    query(16, devices, ctypes.byref(count))
    device_platform = 0x313F
    displays = (display(device_platform, device, None) for device in devices[: count.value])
    return any(found and egl.eglInitialize(found, None, None) for found in displays)


def osmesa_loads():
    try:
        ctypes.CDLL(ctypes.util.find_library("OSMesa") or "libOSMesa.so")
    except OSError:
        return False
    return True


def choose_renderer():
    """Lets MuJoCo draw without a screen: by EGL where it works, else by OSMesa."""
    if not sys.platform.startswith("linux") or os.environ.get("MUJOCO_GL"):
        return
    if egl_works():
        os.environ["MUJOCO_GL"] = "egl"
    elif osmesa_loads():
        os.environ["MUJOCO_GL"] = "osmesa"


def whole(value, name):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refusal("argument", f"`{name}` is {value!r}, expected a whole number of at least 1")
    return value


def of_32_bits(seed):
    """Many packages keep legacy generators, which take no more. Those of an evaluation are as they are, those
    beyond them, of training, lie elsewhere."""
    return seed if seed >> 32 == 0 else (seed * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 32


def comes_from(env, package):
    return type(env.unwrapped).__module__.split(".")[0] == package


class Physics:
    """MuJoCo's model and data inside an environment, drawn leanly: without shadows, multisampling,
    reflections, haze and sky a picture takes a tenth of the time."""

    FREE = ("lookat", "distance", "azimuth", "elevation")

    @staticmethod
    def find(env):
        """The function that gives an environment's present model and data; `None` without MuJoCo."""
        mujoco = sys.modules.get("mujoco")
        env = env.unwrapped
        if mujoco is None:
            return None
        if isinstance(getattr(env, "model", None), mujoco.MjModel):
            return lambda: (env.model, env.data)
        control = getattr(env, "_env", None)
        if hasattr(control, "physics"):
            # Composer environments compile a new model in a reset.
            return lambda: (control.physics.model.ptr, control.physics.data.ptr)
        return None

    def __init__(self, env, find, size, cameras, looks):
        import mujoco

        self.mujoco, self.env, self.find = mujoco, env.unwrapped, find
        self.size, self.looks = size, looks
        self.model = self.renderer = None
        self.is_metaworld = comes_from(env, "metaworld")
        self.attach()
        cameras = [None] if cameras is None else cameras if isinstance(cameras, list) else [cameras]
        if not cameras:
            raise Refusal("argument", "`camera` is an empty list, expected at least one camera")
        self.cameras = [self.camera(camera) for camera in cameras]

    def attach(self):
        """Makes a renderer for the present model."""
        model, data = self.find()
        if model is not self.model:
            if self.renderer is not None:
                self.renderer.close()
            self.model = model
            model.vis.quality.shadowsize = 0
            model.vis.quality.offsamples = 0
            for kind, looks in self.looks.items():
                for name, look in looks.items():
                    self.dress(kind, name, look)
            self.renderer = self.make_renderer(model)
        return data

    def make_renderer(self, model):
        # MuJoCo refuses pictures beyond this buffer, which many models leave at 640 × 480.
        buffer = model.vis.global_
        buffer.offwidth = max(buffer.offwidth, self.size)
        buffer.offheight = max(buffer.offheight, self.size)
        try:
            return self.mujoco.Renderer(model, self.size, self.size)
        except Exception as error:
            raise Refusal(
                "picture",
                f"MuJoCo cannot draw by MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {error}; EGL and OSMesa"
                " need no screen, on Debian `apt-get install libegl1 libgl1-mesa-dri` or `libosmesa6`",
            ) from error

    def dress(self, kind, name, look):
        """Gives a site another size or colour, a geom, which bodies collide with, another colour."""
        model = self.model
        one, count = (model.site, model.nsite) if kind == "sites" else (model.geom, model.ngeom)
        names = [one(index).name for index in range(count) if one(index).name]
        if name not in names:
            known = ", ".join(names) or "nameless"
            raise Refusal("argument", f"`{kind}` names `{name}`, but the {kind} are {known}")
        known = ["size", "rgba"] if kind == "sites" else ["rgba"]
        if not isinstance(look, dict) or not set(look) <= set(known):
            expected = " or ".join(f"`{key}`" for key in known)
            raise Refusal("argument", f"`{kind}` gives `{name}` {look!r}, expected {expected}")
        thing = one(name)
        try:
            if "size" in look:
                size = look["size"] if isinstance(look["size"], list) else [look["size"]]
                thing.size[: len(size)] = size
            if "rgba" in look:
                thing.rgba[:] = look["rgba"]
                # A material, a texture say, would darken the colour.
                thing.matid[:] = -1
        except (TypeError, ValueError) as error:
            raise Refusal("argument", f"`{kind}` gives `{name}` {look!r}: {error}") from error

    def camera(self, camera):
        """The camera and whether its pictures are upside down."""
        if camera is None:
            return self.default_camera(), False
        if isinstance(camera, dict):
            unknown = set(camera) - set(self.FREE)
            if unknown:
                raise Refusal(
                    "argument", f"a camera has {', '.join(self.FREE)}, not {', '.join(sorted(unknown))}"
                )
            return self.free_camera(camera), False
        names = [self.model.camera(index).name for index in range(self.model.ncam)]
        number = names.index(camera) if camera in names else camera
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(names):
            known = ", ".join(f"{index}: {name}" for index, name in enumerate(names)) or "none"
            raise Refusal(
                "argument",
                f"no camera is {camera!r}: there are {known}, or an object with {', '.join(self.FREE)}",
            )
        # MetaWorld's corner cameras stand on their heads.
        up = self.find()[1].cam_xmat[number].reshape(3, 3)[2, 1]
        on_the_world = self.model.cam_bodyid[number] == 0
        return number, bool(self.is_metaworld and on_the_world and up < 0)

    def default_camera(self):
        """The environment's own camera: the free one where it names none."""
        own = getattr(self.env, "mujoco_renderer", None)
        number = (0 if self.model.ncam else -1) if own is None else own.camera_id
        if self.is_metaworld or number is None or number < 0:
            return self.free_camera({})
        return number

    def free_camera(self, settings):
        """MuJoCo's free camera; what `settings` leave out is as the environment has it."""
        own = getattr(self.env, "mujoco_renderer", None)
        usual = METAWORLD_CAMERA if self.is_metaworld else getattr(own, "default_cam_config", None)
        camera = self.mujoco.MjvCamera()
        self.mujoco.mjv_defaultFreeCamera(self.model, camera)
        try:
            for name, value in {**(usual or {}), **settings}.items():
                if name == "lookat":
                    camera.lookat[:] = value
                else:
                    setattr(camera, name, value)
        except (TypeError, ValueError) as error:
            raise Refusal("argument", f"a camera cannot be {settings!r}: {error}") from error
        return camera

    def after_reset(self):
        model, data = self.find()
        # Without it the first picture shows sites, the goal among them, where they were before.
        self.mujoco.mj_forward(model, data)

    def picture(self):
        import numpy

        data = self.attach()
        views = []
        for camera, upside_down in self.cameras:
            self.renderer.update_scene(data, camera=camera)
            for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE"):
                self.renderer.scene.flags[getattr(self.mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
            view = self.renderer.render()
            views.append(view[::-1, ::-1] if upside_down else view)
        return views[0] if len(views) == 1 else numpy.concatenate(views, axis=1)


# From the side of the table, above the arm: hand, goal and objects are in the middle.
METAWORLD_CAMERA = {"lookat": [0.0, 0.74, 0.17], "distance": 0.95, "azimuth": 235.0, "elevation": -32.0}


class Server:
    """One environment and the answers to the protocol's calls."""

    def __init__(self, name, arguments, env=None):
        # What is not taken from these goes to gymnasium.make.
        arguments = dict(arguments)
        take = arguments.pop
        self.size = whole(take("size", 64), "size")
        self.repeat = whole(take("repeat", 1), "repeat")
        self.success_key = take("success", None)
        self.reward = take("reward", "env")
        if self.reward not in ("env", "success"):
            raise Refusal("argument", f"`reward` is {self.reward!r}, expected `env` or `success`")
        limit, low, high = (take(key, None) for key in ("time_limit", "action_low", "action_high"))
        cameras, looks = take("camera", None), {kind: take(kind, {}) for kind in ("sites", "geoms")}
        for kind, named in looks.items():
            if not isinstance(named, dict):
                raise Refusal("argument", f"`{kind}` is {named!r}, expected an object of names and looks")
        expert, task = take("expert", None), arguments.get("env_name")
        self.expert_steps = 0
        if (steps := take("expert_steps", None)) is not None:
            self.expert_steps = whole(steps, "expert_steps")
        if env is not None and arguments:
            unknown = ", ".join(f"`{key}`" for key in arguments)
            raise Refusal("argument", f"{unknown} cannot be given to an environment that is made already")
        if env is not None:
            task = (getattr(env.spec, "kwargs", None) or {}).get("env_name")
        self.env = make(name, arguments) if env is None else env
        self.changed = {}
        self.low, self.high, self.space = self.bounds(low, high)
        self.limit = self.time_limit(None if limit is None else whole(limit, "time_limit"))
        self.expert = self.find_expert(expert, task)
        if self.expert_steps and self.expert is None:
            raise Refusal("argument", "`expert_steps` are taken by an expert: name one as `expert`")
        self.prepare_pictures(name, cameras, looks)

    def prepare_pictures(self, name, cameras, looks):
        self.physics = self.shape = None
        if type(self.env.unwrapped).__name__ == "PendulumEnv":
            # It draws to scale: smaller than its 500 pixels it takes a fifth of the time.
            self.change(self.env.unwrapped, "screen_dim", min(500, 2 * self.size))
        self.reset(0)
        find = Physics.find(self.env)
        if find:
            self.physics = Physics(self.env, find, self.size, cameras, looks)
        elif cameras is not None or any(looks.values()):
            raise Refusal("argument", f"`{name}` does not run on MuJoCo: it has no `camera`, `sites` or `geoms`")
        self.shape = self.picture().shape

    def change(self, owner, name, value):
        """Sets an attribute of the environment's."""
        before = vars(owner).get(name, self)
        self.changed.setdefault((id(owner), name), (owner, name, before))
        setattr(owner, name, value)

    def restore(self):
        """Gives the environment's attributes back their values, for someone else to go on with it."""
        for owner, name, before in self.changed.values():
            # What was the class's own is so again.
            delattr(owner, name) if before is self else setattr(owner, name, before)
        self.changed = {}

    def description(self):
        height, width, channels = self.shape
        return {
            "protocol": PROTOCOL,
            "action_low": self.low.ravel().tolist(),
            "action_high": self.high.ravel().tolist(),
            "height": height,
            "width": width,
            "channels": channels,
            "cameras": len(self.physics.cameras) if self.physics else 1,
            "time_limit": self.limit,
            "expert": self.expert is not None,
            "reward_range": [0, 1] if self.reward == "success" else None,
        }

    def find_expert(self, name, task):
        """The expert of this name, `module:attribute`, or MetaWorld's own."""
        if name is None and not comes_from(self.env, "metaworld"):
            return None
        if name is None:
            from metaworld.policies import ENV_POLICY_MAP

            # The policies are told where the goal is.
            self.change(self.env.unwrapped, "_partially_observable", False)
            policy = ENV_POLICY_MAP.get(task)
            return policy and policy()
        module, _, attribute = str(name).partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            raise Refusal(
                "argument", f"`expert` is {name!r}, but Python finds no module `{module}` from {os.getcwd()}"
            ) from error
        if found is None:
            raise Refusal("argument", f"`expert` is {name!r}, expected `module:attribute` of a policy")
        return found() if isinstance(found, type) else found

    def expert_action(self):
        """What the expert would do now: of its `get_action(observation)`, or of itself as a function."""
        import numpy

        seen = self.env.unwrapped._get_obs() if comes_from(self.env, "metaworld") else self.observation
        action = getattr(self.expert, "get_action", self.expert)(seen)
        return numpy.asarray(action, "<f4").ravel().clip(self.low.ravel(), self.high.ravel())

    def bounds(self, low, high):
        """The finite bounds of the actions: the environment's and those that the arguments give, whichever are
        narrower, since the environment would clip what lies beyond its own without a word."""
        import gymnasium
        import numpy

        space = self.env.action_space
        if not isinstance(space, gymnasium.spaces.Box) or space.dtype.kind != "f":
            raise Refusal(
                "action_space",
                f"the actions are {space}: planners need continuous actions, a Box of floats with bounds",
            )
        if math.prod(space.shape) == 0:
            raise Refusal("action_space", f"the actions {space} have no entries")
        try:
            low, high = (
                numpy.broadcast_to(numpy.asarray(bound if given is None else given, numpy.float64), space.shape)
                for bound, given in ((space.low, low), (space.high, high))
            )
        except (TypeError, ValueError) as error:
            raise Refusal(
                "argument",
                f"`action_low` and `action_high` are numbers or lists of the actions' shape {space.shape}",
            ) from error
        bounds = numpy.maximum(low, space.low), numpy.minimum(high, space.high)
        if not numpy.isfinite(bounds).all():
            raise Refusal(
                "action_space",
                f"the actions {space} have no finite bounds: give them as `action_low` and `action_high`",
            )
        return bounds[0], bounds[1], space

    def layers(self):
        """The environment inside each wrapper, from the outermost."""
        env = self.env
        while True:
            yield env
            if env is env.unwrapped:
                break
            env = env.env
        # dm_control's own, inside shimmy's.
        control = getattr(env, "_env", None)
        if control is not None:
            yield control

    def limits(self):
        """Each layer with a time limit of its own: the layer, the limit's name and value, and how much of it a
        step takes."""
        for layer in self.layers():
            for name in ("_max_episode_steps", "max_path_length", "_step_limit", "_time_limit"):
                limit = vars(layer).get(name, getattr(type(layer), name, None))
                if not isinstance(limit, (int, float)):
                    continue
                if name != "_time_limit":
                    yield layer, name, limit, 1
                elif hasattr(layer, "control_timestep"):
                    # Those of dm_control's composer are in seconds.
                    yield layer, name, limit, layer.control_timestep()

    def time_limit(self, asked):
        """Steps of an episode, after action repeat and those of the expert; what is asked for replaces the
        environment's."""
        if asked is not None:
            steps = (asked + self.expert_steps) * self.repeat
            for layer, name, _, step in self.limits():
                # Half a step more of seconds, which are added up and rounded: steps are counted over there.
                self.change(layer, name, steps if step == 1 else (steps + 0.5) * step)
            return asked
        known = [round(limit / step, 3) for _, _, limit, step in self.limits() if math.isfinite(limit)]
        if not known:
            raise Refusal("time_limit", "it does not say how long its episodes last")
        limit = math.ceil(min(known) / self.repeat)
        if limit <= self.expert_steps:
            raise Refusal("argument", f"`expert_steps` is {self.expert_steps} of the {limit} of an episode")
        return limit - self.expert_steps

    def reset(self, seed):
        import numpy

        seed = of_32_bits(seed)
        random.seed(seed)
        numpy.random.seed(seed)
        if comes_from(self.env, "metaworld"):
            self.free_goal(seed)
        if comes_from(self.env, "gym_pusht"):
            # PushT would draw the last episode's last action into the first picture.
            self.env.unwrapped._last_action = None
        self.observation, _ = self.env.reset(seed=seed)
        if hasattr(self.expert, "reset"):
            self.expert.reset(seed)
        for _ in range(self.expert_steps):
            _, _, terminated, truncated = self.advance(self.expert_action())
            if terminated or truncated:
                raise Refusal("argument", f"an episode ends within the {self.expert_steps} `expert_steps`")
        if self.physics:
            self.physics.after_reset()

    def free_goal(self, seed):
        """MetaWorld ignores the seed of a reset and draws one of 50 tasks from a generator that is
        never seeded: here every seed has a goal of its own, and always the same one."""
        for layer in self.layers():
            if hasattr(layer, "toggle_sample_tasks_on_reset"):
                if not layer.unwrapped._set_task_called:
                    layer.unwrapped.set_task(layer.tasks[0])
                layer.toggle_sample_tasks_on_reset(False)
        env = self.env.unwrapped
        self.change(env, "_freeze_rand_vec", False)
        self.change(env, "seeded_rand_vec", True)
        env.seed(seed)

    def step(self, action):
        import numpy

        total, success, terminated, truncated = self.advance(numpy.frombuffer(action, "<f4"))
        if self.reward == "success":
            total = float(success)
        return {
            "reward": total if math.isfinite(total) else None,
            "terminated": bool(terminated),
            "truncated": bool(truncated),
            "success": success,
        }

    def advance(self, action):
        """Executes an action as often as it is repeated: the reward, and whether the task is solved, the state
        terminal, the episode cut off."""
        action = action.astype(self.space.dtype).reshape(self.space.shape)
        action = action.clip(self.space.low, self.space.high)
        total, success = 0.0, False
        for _ in range(self.repeat):
            self.observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            success = self.solved(info) or success
            if terminated or truncated:
                break
        return total, success, terminated, truncated

    def solved(self, info):
        """What `info` says of success, under the key given or a usual one, which some say in their last step only."""
        named = self.success_key
        if named is None:
            named = next((key for key in ("success", "is_success") if key in info), None)
        if named is None:
            if self.reward == "success":
                raise self.no_success(info)
            return False
        if named in info:
            return float(info[named]) >= 0.5
        value = info
        for key in str(named).split("."):
            if not isinstance(value, dict) or key not in value:
                raise self.no_success(info)
            value = value[key]
        return float(value) >= 0.5

    def no_success(self, info):
        keys = ", ".join(map(str, info)) or "none"
        return Refusal("argument", f"`success` is to name a key of a step's info: the keys are {keys}")

    def picture(self):
        """The present picture `[height, width, channels]`."""
        import numpy

        picture = self.physics.picture() if self.physics else self.env.render()
        if not isinstance(picture, numpy.ndarray) or picture.dtype != numpy.uint8:
            raise Refusal("picture", f"its render() gives {type(picture).__name__}, not an array of bytes")
        if picture.ndim == 2:
            picture = picture[:, :, None]
        if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4):
            raise Refusal("picture", f"its render() gives an array of shape {picture.shape}")
        picture = picture[:, :, :3]
        if self.shape not in (None, picture.shape):
            raise Refusal(
                "picture", f"its picture has the shape {picture.shape} now, after {self.shape} before"
            )
        return picture

    def pixels(self):
        return self.picture().tobytes()


# What Python says of a call whose arguments are not those that are taken.
WRONG_ARGUMENTS = r"unexpected keyword argument|missing .* argument|multiple values for|takes no arguments"


def make(name, arguments):
    """`gymnasium.make`, with its errors told apart."""
    import gymnasium

    if "render_mode" in arguments:
        raise Refusal("argument", "`render_mode` is always `rgb_array` here: leave it out")
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    try:
        spec = gymnasium.spec(name)
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(name, list(gymnasium.registry), n=1, cutoff=0.5)
        reason = f"Gymnasium knows no environment `{name}`"
        raise Refusal("unknown_id", reason, nearest=near[0] if near else None) from error
    try:
        env = make_rendered(gymnasium, name, arguments)
    except TypeError as error:
        if not re.search(WRONG_ARGUMENTS, str(error)):
            raise
        raise Refusal("argument", str(error)) from error
    modes = env.metadata.get("render_modes", [])
    if "rgb_array" not in modes and Physics.find(env) is None:
        raise Refusal("picture", f"`{spec.id}` has no render mode `rgb_array`, only {modes}")
    return env


def make_rendered(gymnasium, name, arguments):
    arguments = {"disable_env_checker": True, **arguments}
    try:
        return gymnasium.make(name, render_mode="rgb_array", **arguments)
    except TypeError as error:
        if not re.search("unexpected keyword argument 'render_mode'|takes no arguments", str(error)):
            raise
        # Some MuJoCo environments take no render mode: they are drawn here all the same.
        return gymnasium.make(name, **arguments)


# What pip calls the modules that environments are usually made of. Another may be anybody's, or a file of one's own.
PACKAGES = {
    "dm_control": "dm-control",
    "gym_pusht": "gym-pusht",
    "gymnasium": "gymnasium",
    "gymnasium_robotics": "gymnasium-robotics",
    "metaworld": "metaworld",
    "mujoco": "mujoco",
    "numpy": "numpy",
    "pygame": "pygame",
    "shimmy": "shimmy[dm-control]",
}


def refusal(error):
    """The answer to a call that ended in an exception."""
    if isinstance(error, Refusal):
        return error.answer
    message = "".join(traceback.format_exception_only(type(error), error)).strip()
    if isinstance(error, ModuleNotFoundError) and error.name:
        told = f"Python finds no module `{error.name}` from {os.getcwd()}"
        return {"kind": "package", "message": told, "install": PACKAGES.get(error.name, "")}
    install = re.search(r"pip install [\"']?([\w.\[\],-]+)", message)
    if type(error).__name__ == "DependencyNotInstalled" and install:
        return {"kind": "package", "message": message, "install": install[1]}
    return {"kind": "exception", "message": message, "trace": trace(error)}


def trace(error):
    """An exception's traceback, without this file's part and the lines that underline."""
    inner = error.__traceback__
    while inner.tb_next and inner.tb_frame.f_globals is globals():
        inner = inner.tb_next
    lines = "".join(traceback.format_exception(type(error), error, inner)).splitlines()
    return "\n".join(line for line in lines if line.strip(" ^~"))


def answer(server, header, payload):
    """The answer to one request as header and payload, and the server from then on."""
    call = header.get("call")
    if call == "hello":
        if header.get("protocol") != PROTOCOL:
            return {"protocol": PROTOCOL}, b"", None
        server = Server(sys.argv[1], header["arguments"])
        return server.description(), b"", server
    if call == "reset":
        server.reset(header["seed"])
        return {}, server.pixels(), server
    if call == "step":
        told = server.step(payload)
        return told, server.pixels(), server
    if call == "expert":
        return {}, server.expert_action().astype("<f4").tobytes(), server
    raise ValueError(f"unknown call {call!r}")


def main():
    channel = Channel()
    watchdog = Watchdog()
    choose_renderer()
    server = None
    while True:
        if not channel.wait(watchdog.patience()):
            watchdog.idle()
        header, payload = channel.receive()
        if header is None or header.get("call") == "close":
            # Nothing is worth an interpreter's orderly end: it may hang in a driver.
            os._exit(0)
        watchdog.busy()
        try:
            told, payload, server = answer(server, header, payload)
        except BaseException as error:
            told, payload = {"error": refusal(error)}, b""
        told["id"] = header["id"]
        # The first answer has a deadline of its own.
        watchdog.limit = header.get("deadline", watchdog.limit)
        channel.send(told, payload)


if __name__ == "__main__":
    main()
