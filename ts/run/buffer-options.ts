/** The options of `tapferry run` for frames that wait: for the hold, or for an output that takes no more. */

import { option } from '../options/option.ts'
import { byteSize, choice, integer, milliseconds, type ValueParser } from '../options/values.ts'

const BUFFER = 'Buffer'

/** `until-running`, or milliseconds from one release to the next. */
export type Hold = 'until-running' | number

/** Longer would be a mistake, not a delay. */
const MAX_HOLD_MS = 3_600_000

/** The largest record is 69632 bytes (QEMU's NET_BUFSIZE), and one must fit. */
const MIN_BUFFER_BYTES = 128 * 2 ** 10

/** The core counts in 32 bits. */
const MAX_BUFFER_BYTES = 2 ** 32 - 1

const MAX_BUFFER_FRAMES = 2 ** 24

export const DEFAULT_BUFFER_BYTES = 16 * 2 ** 20
export const DEFAULT_BUFFER_FRAMES = 65_536

const hold: ValueParser<Hold> = (text, flag) => {
  if (text === 'until-running') return text
  const expected = `'until-running', or milliseconds from 1 to ${MAX_HOLD_MS}, such as '100', '100ms' or '5s'`
  return milliseconds(MAX_HOLD_MS, { minimum: 1, units: true, expected })(text, flag)
}

export const bufferOptions = {
  hold: option({
    flags: '--hold',
    value: 'MS|until-running',
    group: BUFFER,
    brief: 'release frames at intervals, or later',
    help: [
      "MS: release frames every MS milliseconds, as QEMU's filter-buffer does; or",
      'with a unit: 500ms, 5s.',
      'until-running: keep frames until the VM runs, then release them in order;',
      'needs --qmp, and implies --enable-when-stopped.',
    ],
    parse: hold,
  }),
  buffer: option({
    flags: '--buffer',
    value: 'SIZE',
    default: '16M',
    group: BUFFER,
    brief: 'bytes that may wait',
    help: [
      'Bytes of frames that may wait, for the hold or for an output that takes no',
      'more: a number, with k, M or G for 1024, 1024 k, 1024 M.',
    ],
    parse: byteSize(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES, "a size from '128k' to '4095M', such as '16M'"),
  }),
  bufferFrames: option({
    flags: '--buffer-frames',
    value: 'N',
    default: String(DEFAULT_BUFFER_FRAMES),
    group: BUFFER,
    brief: 'frames that may wait',
    help: ['Frames that may wait; whichever bound is met first counts.'],
    parse: integer(1, MAX_BUFFER_FRAMES, `a whole number from 1 to ${MAX_BUFFER_FRAMES}`),
  }),
  drop: option({
    flags: '--drop',
    value: 'newest|oldest',
    default: 'newest',
    group: BUFFER,
    brief: 'what goes when the buffer is full',
    help: ['What is dropped when the buffer is full: the newest frame, or the oldest.'],
    parse: choice('newest', 'oldest'),
  }),
}
