/** The options of `tapferry doctor`: those of the run to come, and what to show of it. */

import type { OptionValues } from '../options/option.ts'
import { findingOptions } from '../options/shared.ts'
import { jobOptions } from '../run/options.ts'

export const doctorOptions = {
  ...jobOptions,
  ...findingOptions,
}

export type DoctorOptions = OptionValues<typeof doctorOptions>
