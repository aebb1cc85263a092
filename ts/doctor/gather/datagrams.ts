/** The ends that are datagrams: what is at their address, and whether somebody is bound there. */

import { isBound } from '../../host/datagrams.ts'
import type { DatagramEnd } from '../facts.ts'
import type { Request } from '../request.ts'
import { fileAt } from './streams.ts'

export async function lookAtDatagrams({ inDatagrams, outDatagrams }: Request): Promise<DatagramEnd[]> {
  const ends = [
    ...(inDatagrams === undefined ? [] : [{ role: 'indev' as const, plan: inDatagrams }]),
    ...(outDatagrams === undefined ? [] : [{ role: 'outdev' as const, plan: outDatagrams }]),
  ]
  return Promise.all(
    ends.map(async ({ role, plan }) => ({
      role,
      plan,
      file: plan.to.kind === 'unix' ? await fileAt(plan.to.path, role === 'indev') : undefined,
      bound: await isBound(plan.to),
    })),
  )
}
