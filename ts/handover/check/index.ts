/**
 * `tapferry handover check`: a rehearsal, which changes nothing.
 *
 *     facts.ts    what there is, gathered once
 *     checks.ts   facts -> findings, pure; those of doctor/finding.ts
 */

import type { Finding } from '../../doctor/finding.ts'
import type { HandoverPlan } from '../plan.ts'
import { checkRehearsal } from './checks.ts'
import { gatherRehearsal } from './facts.ts'

export async function rehearse(plan: HandoverPlan): Promise<Finding[]> {
  return checkRehearsal(await gatherRehearsal(plan))
}
