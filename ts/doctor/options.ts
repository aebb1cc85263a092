/** The options of `tapferry doctor`: those of the run to come, and what to show of it. */

import { flag, type OptionValues } from '../options/option.ts'
import { colorOption, jsonOption, OUTPUT } from '../options/shared.ts'
import { jobOptions } from '../run/options.ts'

export const doctorOptions = {
  ...jobOptions,
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
