/** What the help says of `tapferry handover report`. */

import type { CommandHelp } from '../../output/help.ts'
import { handoverReportOptions } from './options.ts'

export const handoverReportHelp: CommandHelp = {
  name: 'handover report',
  summary: 'Make a page of what a handover reported, for a ticket.',
  usage: 'tapferry handover report FILE [FILE] [-o FILE]',
  examples: [
    ["a page of both sides' reports", 'tapferry handover report source.json dest.json -o web-7.html'],
    ['of one side, as source.html', 'tapferry handover report source.json'],
  ],
  options: handoverReportOptions,
  signals: [],
}
