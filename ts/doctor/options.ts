/** The options of `tapferry doctor`: those of `run` that say what is to be done, and what to show of it. */

import { flag, type OptionValues } from '../options/option.ts'
import { colorOption, jsonOption, netdevOptions, OUTPUT } from '../options/shared.ts'
import { runOptions } from '../run/options.ts'

export const doctorOptions = {
  ...netdevOptions,
  queue: runOptions.queue,
  qmp: runOptions.qmp,
  status: runOptions.status,
  enableWhenStopped: runOptions.enableWhenStopped,
  onlyWhenStopped: runOptions.onlyWhenStopped,
  latency: runOptions.latency,
  mark: runOptions.mark,
  strict: flag({
    flags: '--strict',
    group: OUTPUT,
    brief: 'warnings end with status 1, too',
    help: ['End with status 1 if there are warnings, too.'],
  }),
  json: jsonOption(['finding', 'diagnosis', 'error']),
  color: colorOption,
  verbose: flag({
    flags: '-v,--verbose',
    group: OUTPUT,
    brief: 'show what is right, too',
    help: ['Show what was looked at and is right, too.'],
  }),
}

export type DoctorOptions = OptionValues<typeof doctorOptions>
