/**
 * `tapferry handover check`: a rehearsal, which changes nothing.
 *
 *     facts.ts      what there is, gathered once
 *     meeting.ts    the other side, looked at or waited for
 *     checks.ts     facts -> findings, pure; those of doctor/finding.ts
 *     compared.ts   the same of what the two sides have learned of each other
 */

import type { Finding } from '../../doctor/finding.ts'
import { formatDuration } from '../../output/format.ts'
import type { Printer } from '../../output/printer.ts'
import { catchStopSignals } from '../../signals.ts'
import { formatStreamAddress } from '../../stream/address.ts'
import type { HandoverPlan } from '../plan.ts'
import { checkRehearsal } from './checks.ts'
import { gatherRehearsal } from './facts.ts'

/** `meetMs`: how long the other side is waited for; 0: it is not. */
export async function rehearse(plan: HandoverPlan, meetMs: number, printer: Printer): Promise<Finding[]> {
  catchStopSignals()
  const [other, where] = plan.side === 'source' ? ['dest', 'there, or handover dest'] : ['source', 'there']
  const onWaiting = (): void =>
    printer.notice(
      `waiting up to ${formatDuration(meetMs)} at ${formatStreamAddress(plan.address)}: start tapferry handover check ${other} ${where}`,
    )
  return checkRehearsal(await gatherRehearsal(plan, { milliseconds: meetMs, onWaiting }))
}
