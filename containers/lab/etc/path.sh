# For login shells, whose /etc/profile begins PATH anew.
case ":$PATH:" in
    *:/opt/lab/bin:*) ;;
    *) PATH=/opt/lab/bin:$PATH ;;
esac
