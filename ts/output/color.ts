/** Colours by chalk, decided for each stream: only on a terminal, unless asked for. */

import type { WriteStream } from 'node:tty'
import { Chalk, type ChalkInstance, type ColorSupportLevel, supportsColor } from 'chalk'

export type ColorMode = 'auto' | 'always' | 'never'

type MaybeTerminal = NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY'>>

export function colorsFor(stream: MaybeTerminal, mode: ColorMode): ChalkInstance {
  return new Chalk({ level: levelFor(stream, mode) })
}

function levelFor(stream: MaybeTerminal, mode: ColorMode): ColorSupportLevel {
  // The option is more specific than the environment, so `--color=always` wins over NO_COLOR.
  if (mode === 'never') return 0
  if (mode === 'always') return 1
  const wanted = stream.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb'
  if (!wanted) return 0
  return supportsColor ? supportsColor.level : 1
}
