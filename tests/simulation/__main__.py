"""`python -m tests.simulation`: run one seed, or many."""
import sys, time, logging
logging.disable(logging.CRITICAL)
from tests.simulation.databases import SqliteBody
from tests.simulation.run import run
body=SqliteBody()
a=int(sys.argv[1]); b=int(sys.argv[2]) if len(sys.argv)>2 else a+1
run(0,body)
t=time.process_time(); n=0; sec=0; steps=0; calls=0
for seed in range(a,b):
    o=run(seed,body); n+=1; sec+=o.seconds; steps+=o.steps; calls+=o.calls
    if o.violations or b==a+1:
        print(seed,o.plan)
        if b==a+1:
            for l in o.story.lines: print(l)
        for v in o.violations: print("  !!",v)
t=time.process_time()-t
print(n,"seeds",t/n*1000,"ms each", sec/n,"virtual s",steps/n,"steps",calls/n,"calls")
