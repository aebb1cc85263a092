/** The guest's image, with a kernel that is fetched where none is named. */

import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, run } from '../../test/support/cli.ts'
import { Unavailable } from '../../test/support/testbed.ts'
import { type GuestImage, guestImage } from '../../test/support/vm.ts'

const VARIABLE = 'TAPFERRY_GUEST_KERNEL'
/** The script leaves a kernel that is there alone. */
const KERNEL = join(tmpdir(), 'tapferry-guest-kernel')

export async function prepareImage(): Promise<GuestImage> {
  if (!process.env[VARIABLE]) {
    const { status, stderr } = await run(`${ROOT}scripts/fetch-guest-kernel`, [KERNEL])
    if (status !== 0) throw new Unavailable(stderr.trim())
    process.env[VARIABLE] = KERNEL
  }
  return guestImage()
}
