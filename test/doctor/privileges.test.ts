/** What the kernel allows an ordinary user. */

import type { ExecutionContext } from 'ava'
import { type Lab, labTest, orSkip } from '../support/lab.ts'
import { asNobody, ENDS, findsAndMends, namedLab, needsNobody, twoTaps } from './support.ts'

function nobodyTest(title: string, body: (t: ExecutionContext, lab: Lab) => Promise<void>): void {
  labTest(title, async (t, lab) => {
    if (await orSkip(t, needsNobody())) await body(t, lab)
  })
}

nobodyTest('without CAP_NET_RAW', async (t, lab) => {
  await twoTaps(lab)
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'CAPTURE_DENIED', severity: 'error', status: 3 },
    message: /no frame can be captured or injected: the kernel refuses a packet socket \(EPERM\)/,
    healthy: { wrapper: asNobody('net_raw') },
    faulty: { wrapper: asNobody() },
  })
  t.is(
    fix,
    'setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw ' +
      'tapferry doctor --in-netdev=tapA --out-netdev=tapB --json',
  )
})

nobodyTest('without CAP_NET_ADMIN the receive buffer ends early', async (t, lab) => {
  await twoTaps(lab)
  await findsAndMends(t, lab, {
    ...{ code: 'RECEIVE_BUFFER_LIMITED', severity: 'info', status: 0 },
    message: /without CAP_NET_ADMIN a burst finds room for net.core.rmem_max bytes only/,
    healthy: {},
    faulty: { wrapper: asNobody('net_raw') },
  })
})

nobodyTest('without CAP_SYS_ADMIN other network namespaces are closed', async (t, lab) => {
  const elsewhere = await orSkip(t, namedLab(t))
  if (elsewhere === undefined) return
  await twoTaps(elsewhere.lab)
  const args = [...ENDS, `--netns=${elsewhere.name}`]
  const { fix } = await findsAndMends(t, lab, {
    ...{ code: 'PERMISSION', severity: 'error', status: 3, about: 'in_netdev tapA' },
    message: /network namespace/,
    healthy: { args },
    faulty: { args, wrapper: asNobody('net_raw') },
  })
  t.regex(fix ?? '', / --ambient-caps=\+net_raw,\+sys_admin tapferry doctor /)
})
