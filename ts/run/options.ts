/**
 * The options of `tapferry run`: the one table behind its parser and its help. Those of streams and of the buffer
 * are in files of their own.
 */

import { flag, type OptionValues, option } from '../options/option.ts'
import { ENDPOINTS, monitorAddress, netdevOptions, OUTPUT, progressOptions } from '../options/shared.ts'
import { choice, duration, integer, milliseconds, netfilterStatus, onOff } from '../options/values.ts'
import { bufferOptions } from './buffer-options.ts'
import { qemuOptions } from './qemu-options.ts'
import { streamOptions } from './stream-options.ts'

export const DEFAULT_PRE_ROLL_MS = 50
export const DEFAULT_MARK = 0x3074

/** Longer than any switchover should take, and what the pre-roll's bound in bytes can still hold. */
const MAX_PRE_ROLL_MS = 10_000

const GATE = 'Gate'
const FRAMES = 'Frames'
const END = 'Start and end'

/** What is to be done, without what is told of it. */
export const jobOptions = {
  ...netdevOptions,
  queue: option({
    flags: '--queue',
    value: 'tx|rx|all',
    default: 'tx',
    group: ENDPOINTS,
    brief: 'tx: frames to the guest, rx: from it',
    help: [
      'Which frames of in_netdev, as QEMU counts its queues:',
      'tx: frames to the guest, rx: frames from the guest, all: both.',
    ],
    parse: choice('tx', 'rx', 'all'),
  }),
  ...streamOptions,
  qmp: option({
    flags: '--qmp',
    value: 'PATH|HOST:PORT',
    group: GATE,
    brief: "follow the VM's run state on this monitor",
    help: [
      "Follow the VM's run state on this QMP monitor; without one, the VM counts",
      'as running. A lost monitor is tried again for ever, and the gate stays as',
      'it was. A monitor serves one client: give tapferry a -qmp of its own.',
    ],
    parse: monitorAddress,
  }),
  status: option({
    flags: '--status',
    value: 'on|off',
    default: 'on',
    group: GATE,
    brief: 'off: gate closed, nothing captured',
    help: ['off: the gate stays closed and nothing is captured.'],
    parse: netfilterStatus,
  }),
  enableWhenStopped: option({
    flags: '--enable-when-stopped',
    value: 'on|off',
    bare: 'on',
    default: 'off',
    group: GATE,
    brief: 'forward while the VM is stopped, too',
    help: [
      'on: the gate is open while the VM is stopped, too. Without a value: on.',
      'off: frames that arrive while the VM is stopped are dropped.',
    ],
    parse: onOff,
  }),
  onlyWhenStopped: flag({
    flags: '--only-when-stopped',
    group: GATE,
    brief: 'forward only while the VM is stopped',
    help: ['The gate is open only while the VM is stopped. Needs --qmp.'],
  }),
  preRoll: option({
    flags: '--pre-roll',
    value: 'MS',
    default: `${DEFAULT_PRE_ROLL_MS} ms`,
    group: GATE,
    brief: 'keep so much for the opening gate',
    help: [
      "While the VM's state keeps the gate closed, keep the frames of the last MS",
      'milliseconds: the news that the VM has moved comes a little late, and no',
      'frame shall be missed. 0: keep none, and capture nothing while closed.',
    ],
    parse: milliseconds(MAX_PRE_ROLL_MS),
  }),
  ...bufferOptions,
  latency: option({
    flags: '--latency',
    value: 'balanced|low',
    default: 'balanced',
    group: FRAMES,
    brief: 'batches, or each frame at once',
    help: [
      'balanced: least CPU; under load frames leave in batches, up to 4 ms late.',
      'low: each frame at once, at more CPU a frame.',
    ],
    parse: choice('balanced', 'low'),
  }),
  mark: option({
    flags: '--mark',
    value: 'NUMBER',
    default: `0x${DEFAULT_MARK.toString(16)}`,
    group: FRAMES,
    brief: 'SO_MARK of injected frames',
    help: [
      'SO_MARK of injected frames. Frames that carry it are not captured, so that',
      'redirectors cannot loop. For a deliberate chain give each its own mark.',
    ],
    parse: integer(1, 0xffff_ffff, "a number from 1 to 0xffffffff, such as '0x3074'"),
  }),
  wait: flag({
    flags: '--wait',
    group: END,
    brief: 'wait for what is missing, do not fail',
    help: [
      'Wait for interfaces, netdev ids, the monitor and the peers of streams that',
      'are connected to, instead of failing.',
    ],
  }),
  duration: option({
    flags: '--duration',
    value: 'TIME',
    group: END,
    brief: "end this long after 'ready': 10, 10s, 5m",
    help: ["End this long after 'ready': seconds, or with a unit: 500ms, 10s, 5m, 1h."],
    parse: duration({ zero: false }),
  }),
  count: option({
    flags: '--count',
    value: 'N',
    group: END,
    brief: 'end after forwarding N frames',
    help: ['End after forwarding N frames.'],
    parse: integer(1, Number.MAX_SAFE_INTEGER, 'a whole number above 0'),
  }),
}

export const runOptions = {
  ...jobOptions,
  ...qemuOptions,
  dryRun: flag({
    flags: '--dry-run',
    group: END,
    brief: 'check the options and print the plan',
    help: ['Check the options and print the plan; open nothing.'],
  }),
  statsInterval: option({
    flags: '--stats-interval',
    value: 'TIME',
    default: '0, off',
    group: OUTPUT,
    brief: 'print statistics this often',
    help: ['Print statistics this often: seconds, or with a unit: 500ms, 10s, 5m.'],
    parse: duration({ zero: true }),
  }),
  ...progressOptions(['plan', 'ready', 'event', 'statistics', 'summary', 'error']),
}

export type JobOptions = OptionValues<typeof jobOptions>
export type RunOptions = OptionValues<typeof runOptions>
