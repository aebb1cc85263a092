/** The options of `tapferry run` that are copied from a QEMU command line; ts/qemu reads their values. */

import { option, repeatable } from '../options/option.ts'
import type { ValueParser } from '../options/values.ts'

const QEMU = 'From a QEMU command line'

/** What it says is only known of all of them together. */
const asItIs: ValueParser<string> = text => text

export const qemuOptions = {
  chardev: repeatable(
    option({
      flags: '--chardev',
      alias: '-chardev',
      value: 'socket,id=ID,...',
      group: QEMU,
      brief: "QEMU's -chardev, as it is",
      help: [
        'A socket in the words of QEMU, also as -chardev; several times, one for',
        'each stream that an object names:',
        'socket,id=c0,path=PATH,server=on,wait=off  socket,id=c0,host=H,port=P',
      ],
      parse: asItIs,
    }),
  ),
  object: repeatable(
    option({
      flags: '--object',
      alias: '-object',
      value: 'TYPE,id=ID,...',
      group: QEMU,
      brief: "QEMU's -object, as it is",
      help: [
        'A filter in the words of QEMU, also as -object, and also as JSON; several',
        'times, and each that takes or gives frames is a redirector of its own:',
        'filter-mirror,id=m0,netdev=hn0,queue=tx,outdev=c0     copies, to a stream',
        'filter-redirector,id=f0,netdev=hn0,queue=tx,indev=c0  to the guest',
        'filter-buffer,id=b0,netdev=hn0,interval=US            before one: --hold',
        'What cannot mean the same here is refused, and why is told. --dry-run',
        "shows each in tapferry's own options. See docs/qemu-spelling.md.",
      ],
      parse: asItIs,
    }),
  ),
}
